"""The messages of `super_advanced_agents.v1`, generated from proto/ by `make contracts`."""
