"""The service over HTTP.

The life of a request: `proxy_errors`, in Serve's own proxy, checks its id; `middleware` logs it and
answers unexpected errors; `auth` asks for a key (`api_keys`); `body_reader` reads the body and
`json_body` makes an object of it; `request_parser` and `item_parser` turn that into conversations;
`request_limit` bounds how many run at once; a `scorer` scores them; `responses` renders the results
and `errors` the failures. `routes` holds the paths, `console` is for people, `app` puts it all
together, `ingress` is the Serve deployment.
"""
