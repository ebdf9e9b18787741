"""How connections are served: gunicorn's event loop reads and writes them, threads only compute answers."""
