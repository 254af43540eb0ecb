"""Studies: the apps and models measured against each other and against plainer ways."""
