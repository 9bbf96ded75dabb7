"""The client's edge: HTTP to CI and COS, credentials, and the limiter."""
