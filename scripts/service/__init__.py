"""The application that a rollout carries over: one code base, and two releases that differ in their SQL, and in
whether they check references.
"""
