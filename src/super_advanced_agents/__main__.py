"""Run the command `saa` by `python -m super_advanced_agents`."""

from super_advanced_agents.cli.main import main

if __name__ == "__main__":
    main()
