"""The service over HTTP.

The life of a request: `guard` gives it an id and answers what nobody foresaw; `auth` wants a key;
`body` reads the body and parses it; `asks` turns it into conversations; a `scorer` scores them;
`answers` renders the results and `errors` the failures. `native` holds the routes, `app` puts it
together, `ingress` is the Serve deployment. A dialect of another server is one more file of routes.
"""
