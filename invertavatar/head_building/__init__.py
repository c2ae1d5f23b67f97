"""How the head model is made: from MakeHuman's CC0 data, and from tracks of people."""
