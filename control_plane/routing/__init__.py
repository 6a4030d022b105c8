"""The road: request -> tenant -> route -> connection -> session, and the seam to the tenant app."""
