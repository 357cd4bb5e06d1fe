"""What answers each operation of the table, whatever protocol it came over; forms and statuses belong elsewhere."""
