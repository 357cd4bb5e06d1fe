"""The text analysis and the ranking function that the keyword searches of all engines share."""
