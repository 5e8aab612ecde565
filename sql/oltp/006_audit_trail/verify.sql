-- A way back is never refused for what is wrong with the log.
SELECT audit.refuse_editors() WHERE current_setting('rollout.stage') <> 'revert';
