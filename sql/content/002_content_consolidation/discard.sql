DROP TABLE IF EXISTS rollout.orphan_parents;
