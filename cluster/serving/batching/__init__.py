"""The batching deployment: admission, scheduler, dispatcher, and its client."""
