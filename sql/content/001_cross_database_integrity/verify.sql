SELECT rollout.verify_001_cross_database_integrity(current_setting('rollout.stage'));
