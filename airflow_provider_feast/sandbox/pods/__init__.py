"""The node: schedules pods and runs their containers as local processes."""
