SELECT rollout.verify_004_olap_performance(current_setting('rollout.stage'));
