/* tls.c - see tls.h. The one place that talks to OpenSSL, by whose means libpq does TLS. */
#include "pg/tls.h"

#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define NAME_BYTES_MAX 160

/* The first thing that OpenSSL had against the chain. */
struct finding {
	int code;
	char subject[NAME_BYTES_MAX], issuer[NAME_BYTES_MAX], until[40];
};

static void name_text(X509_NAME *name, char *out)
{
	out[0] = '\0';
	if (name != NULL)
		X509_NAME_oneline(name, out, NAME_BYTES_MAX);
}

static void time_text(const ASN1_TIME *t, char *out, size_t max)
{
	BIO *b = BIO_new(BIO_s_mem());
	int n = b != NULL && t != NULL && ASN1_TIME_print(b, t) ? BIO_read(b, out, (int)max - 1) : 0;
	out[n > 0 ? n : 0] = '\0';
	BIO_free(b);
}

/* Looks at every certificate and refuses none. */
static int look(int ok, X509_STORE_CTX *ctx)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(ctx, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct finding *f = SSL_get_app_data(ssl);
	X509 *cert = X509_STORE_CTX_get_current_cert(ctx);
	if (ok || f->code != X509_V_OK)
		return 1;
	f->code = X509_STORE_CTX_get_error(ctx);
	if (cert == NULL)
		return 1;
	name_text(X509_get_subject_name(cert), f->subject);
	name_text(X509_get_issuer_name(cert), f->issuer);
	time_text(X509_get0_notAfter(cert), f->until, sizeof f->until);
	return 1;
}

static int connect_to(const struct config_url *u)
{
	char port[8];
	snprintf(port, sizeof port, "%d", u->port);
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	if (getaddrinfo(u->host, port, &hints, &list) != 0)
		return -1;
	struct timeval limit = {.tv_sec = TLS_LOOK_TIMEOUT_S};
	int fd = -1;
	for (struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
		if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
			break;
		close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	return fd;
}

/* Postgres's request for TLS and its answer. */
static bool server_agrees(int fd)
{
	static const unsigned char request[8] = {0, 0, 0, 8, 4, 210, 22, 47};
	char answer = 0;
	return send(fd, request, sizeof request, MSG_NOSIGNAL) == (ssize_t)sizeof request && recv(fd, &answer, 1, 0) == 1 &&
	       answer == 'S';
}

static void shake_hands(const struct config *c, const struct config_url *u, int fd, struct finding *f)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = NULL;
	if (ctx == NULL || SSL_CTX_load_verify_locations(ctx, c->ca_certificate_file, NULL) != 1 || (ssl = SSL_new(ctx)) == NULL)
		goto out;
	SSL_set_app_data(ssl, f);
	SSL_set_verify(ssl, SSL_VERIFY_PEER, look);
	(void)SSL_set_tlsext_host_name(ssl, u->host);
	if (SSL_set_fd(ssl, fd) == 1)
		(void)SSL_connect(ssl);
out:
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	ERR_clear_error();
}

static void describe(const struct finding *f, const char *ca_file, char *out, size_t max)
{
	switch (f->code) {
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		snprintf(out, max, "Unknown CA: %s holds no certificate of %s, which has issued %s", ca_file, f->issuer, f->subject);
		break;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		snprintf(out, max, "Unknown CA: %s has signed itself, and isn't in %s", f->subject, ca_file);
		break;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		snprintf(out, max, "the certificate of %s has expired, on %s", f->subject, f->until);
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		snprintf(out, max, "the certificate of %s is not valid yet: is this machine's clock right?", f->subject);
		break;
	case X509_V_ERR_INVALID_CA:
	case X509_V_ERR_KEYUSAGE_NO_CERTSIGN:
	case X509_V_ERR_PATH_LENGTH_EXCEEDED:
		snprintf(out, max, "the certificate of %s has issued another and isn't one of a CA (basicConstraints, keyUsage)", f->subject);
		break;
	default:
		snprintf(out, max, "%s (%s)", X509_verify_cert_error_string(f->code), f->subject);
		break;
	}
}

void pg_tls_explain(const struct config *c, const struct config_url *u, struct err *e)
{
	if (c->ca_certificate_file == NULL || u->host[0] == '/' || e->sqlstate[0] != '\0' ||
	    strstr(e->text, "certificate verify failed") == NULL)
		return;
	struct finding f = {.code = X509_V_OK};
	int fd = connect_to(u);
	if (fd < 0)
		return;
	if (server_agrees(fd))
		shake_hands(c, u, fd, &f);
	close(fd);
	if (f.code == X509_V_OK)
		return;
	char why[3 * NAME_BYTES_MAX];
	describe(&f, c->ca_certificate_file, why, sizeof why);
	(void)err_set(e, ERR_PG_CONN, PG_TLS_VERIFY_FAILED "%s", why);
}
