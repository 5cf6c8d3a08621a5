// libmicrohttpd.a calls GnuTLS, which costs every start of ckpt more than all of ckpt does: it loads nine
// libraries and examines itself. A server on a Unix socket never speaks TLS, so the calls end here. Only
// MHD_init and MHD_fini (libmicrohttpd, daemon.c) make any of them without a daemon with MHD_USE_TLS.
#ifdef CKPT_STATIC_LIBRARIES

#include <stdio.h>
#include <stdlib.h>

int gnutls_global_init(void) { return 0; }
void gnutls_global_deinit(void) {}

#define UNREACHABLE(name)                                             \
    void gnutls_##name(void) {                                        \
        fputs("ckpt: gnutls_" #name " was called: no TLS here\n", stderr); \
        abort();                                                      \
    }

UNREACHABLE(alpn_set_protocols)
UNREACHABLE(bye)
UNREACHABLE(certificate_allocate_credentials)
UNREACHABLE(certificate_free_credentials)
UNREACHABLE(certificate_server_set_request)
UNREACHABLE(certificate_set_dh_params)
UNREACHABLE(certificate_set_retrieve_function2)
UNREACHABLE(certificate_set_retrieve_function3)
UNREACHABLE(certificate_set_x509_key_mem)
UNREACHABLE(certificate_set_x509_key_mem2)
UNREACHABLE(certificate_set_x509_trust_mem)
UNREACHABLE(cipher_get)
UNREACHABLE(credentials_set)
UNREACHABLE(deinit)
UNREACHABLE(dh_params_deinit)
UNREACHABLE(dh_params_import_pkcs3)
UNREACHABLE(dh_params_init)
UNREACHABLE(handshake)
UNREACHABLE(init)
// A variable that holds a function in GnuTLS.
void *(*gnutls_malloc)(size_t) = malloc;
UNREACHABLE(priority_deinit)
UNREACHABLE(priority_init)
UNREACHABLE(priority_set)
UNREACHABLE(protocol_get_version)
UNREACHABLE(psk_allocate_server_credentials)
UNREACHABLE(psk_free_server_credentials)
UNREACHABLE(psk_set_server_credentials_function)
UNREACHABLE(record_check_pending)
UNREACHABLE(record_get_direction)
UNREACHABLE(record_recv)
UNREACHABLE(record_send)
UNREACHABLE(session_get_ptr)
UNREACHABLE(session_set_ptr)
UNREACHABLE(strerror)
UNREACHABLE(transport_set_int2)

#endif
