"""What the programs of dev/ have in common: `program`, how they run and what they say; `fetch`, how pip and Maven bring what
they need into .dev/. Standard library only."""
