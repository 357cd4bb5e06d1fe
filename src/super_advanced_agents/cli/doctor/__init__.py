"""What `saa doctor` looks at; one file for each place it looks into."""
