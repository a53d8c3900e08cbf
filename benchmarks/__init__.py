"""What the router gains and costs, beside its peers: `make bench`, or one script by itself."""
