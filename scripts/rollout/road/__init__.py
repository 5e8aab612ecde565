"""The steps of the road, one function each, as the playbooks order them; and the command that runs a playbook."""
