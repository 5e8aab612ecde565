-- At least so many columns are documented once this is expanded; a later change may have replaced some tables for good.
SELECT rollout.verify_documented_references(current_setting('rollout.stage'), 20);
