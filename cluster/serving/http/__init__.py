"""The service over HTTP.

The life of a request: `proxy`, in Serve's own proxy, sees to its id; `guard` logs it and answers
what nobody foresaw; `auth` wants a key (`keys`); `body` reads the body and parses it; `asks` turns
it into conversations; `door` lets so many in at once; a `scorer` scores them; `answers` renders the
results and `errors` the failures. `native` holds the routes, `page` is for people, `app` puts it
together, `ingress` is the Serve deployment. A dialect of another server is one more file of routes.
"""
