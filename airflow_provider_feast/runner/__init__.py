"""The one file that runs beside Feast inside a container."""
