"""The service over HTTP.

The life of a request: `proxy_errors`, in Serve's own proxy, checks its id; `middleware` logs it and
answers unexpected errors; `auth` asks for a key (`api_keys`); `body_reader` reads the body;
`request_parser` turns it into conversations; `request_limit` bounds how many run at once; a
`scorer` scores them; `responses` renders the results and `errors` the failures. `routes` holds the
paths, `page` is for people, `app` puts it together, `ingress` is the Serve deployment.
"""
