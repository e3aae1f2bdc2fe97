"""The application-service API."""
