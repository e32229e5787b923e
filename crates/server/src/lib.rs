//! The server: JobManager REST, SQL gateway and the page, over HTTP.
