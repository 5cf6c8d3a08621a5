// Stands in for GnuTLS where libmicrohttpd is linked statically; declares nothing of its own.
