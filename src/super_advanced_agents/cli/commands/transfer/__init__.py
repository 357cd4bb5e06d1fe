"""Commands that move memories between places: import, export, backup, restore, migrate."""
