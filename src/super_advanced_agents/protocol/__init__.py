"""What goes over a wire between a client and a served store, agent or orchestrator."""
