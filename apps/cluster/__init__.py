"""Many runs, many inputs and many settings, on the processes of one machine or on a Ray cluster."""
