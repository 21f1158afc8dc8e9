"""What `review` needs around the FiftyOne App: its database, its server, what is pushed to it and read back."""
