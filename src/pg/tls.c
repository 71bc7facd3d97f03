/* tls.c - see tls.h. The one place that talks to OpenSSL, by whose means libpq does TLS. */
#include "pg/tls.h"

#include <errno.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "pg/conn.h"

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

/* Until the socket is ready, or the time is over. */
static bool wait_for(int fd, short events, int64_t until_ms)
{
	for (;;) {
		int64_t left_ms = until_ms - clock_mono_ms();
		struct pollfd p = {.fd = fd, .events = events};
		int r = left_ms > 0 ? poll(&p, 1, (int)left_ms) : 0;
		if (r >= 0 || errno != EINTR)
			return r > 0;
	}
}

static int connect_to(const char *address, int number, int64_t until_ms)
{
	char port[8];
	snprintf(port, sizeof port, "%d", number);
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *a = NULL;
	if (getaddrinfo(address, port, &hints, &a) != 0)
		return -1;
	int failed = 0, fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof failed;
	if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0 &&
	    (errno != EINPROGRESS || !wait_for(fd, POLLOUT, until_ms) || getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) != 0 ||
	     failed != 0)) {
		close(fd);
		fd = -1;
	}
	freeaddrinfo(a);
	return fd;
}

/* Postgres's request for TLS and its answer. */
static bool server_agrees(int fd, int64_t until_ms)
{
	static const unsigned char request[8] = {0, 0, 0, 8, 4, 210, 22, 47};
	char answer = 0;
	return send(fd, request, sizeof request, MSG_NOSIGNAL) == (ssize_t)sizeof request && wait_for(fd, POLLIN, until_ms) &&
	       recv(fd, &answer, 1, 0) == 1 && answer == 'S';
}

static void shake_hands(const struct config *c, const struct config_url *u, int fd, int64_t until_ms, struct finding *f)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = NULL;
	if (ctx == NULL || SSL_CTX_load_verify_locations(ctx, c->ca_certificate_file, NULL) != 1 || (ssl = SSL_new(ctx)) == NULL)
		goto out;
	SSL_set_app_data(ssl, f);
	SSL_set_verify(ssl, SSL_VERIFY_PEER, look);
	(void)SSL_set_tlsext_host_name(ssl, u->host);
	if (SSL_set_fd(ssl, fd) != 1)
		goto out;
	for (bool again = true; again;) {
		int r = SSL_connect(ssl), why = SSL_get_error(ssl, r);
		again = r != 1 && (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) &&
		        wait_for(fd, why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, until_ms);
	}
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

/* The last finding, so that repeated attempts (INGEST's, for one) don't probe each time. */
static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;
static struct known {
	int64_t looked_ms; /* 0: nothing yet */
	char asked[sizeof ((struct err *)0)->text + PG_ADDRESS_TEXT_MAX];
	char found[sizeof ((struct err *)0)->text]; /* "": nothing */
} known;

static bool recall(const char *asked, char *found, size_t max)
{
	pthread_mutex_lock(&known_lock);
	bool yes = known.looked_ms != 0 && clock_mono_ms() - known.looked_ms < TLS_LOOK_AGAIN_MS && strcmp(known.asked, asked) == 0;
	snprintf(found, max, "%s", yes ? known.found : "");
	pthread_mutex_unlock(&known_lock);
	return yes;
}

static void remember(const char *asked, const char *found)
{
	pthread_mutex_lock(&known_lock);
	known.looked_ms = clock_mono_ms();
	snprintf(known.asked, sizeof known.asked, "%s", asked);
	snprintf(known.found, sizeof known.found, "%s", found);
	pthread_mutex_unlock(&known_lock);
}

static void find_out(const struct config *c, const struct config_url *u, const char *address, char *found, size_t max)
{
	struct finding f = {.code = X509_V_OK};
	int64_t until_ms = clock_mono_ms() + TLS_LOOK_MAX_MS;
	int fd = connect_to(address, u->port, until_ms);
	if (fd >= 0 && server_agrees(fd, until_ms))
		shake_hands(c, u, fd, until_ms, &f);
	if (fd >= 0)
		close(fd);
	found[0] = '\0';
	if (f.code != X509_V_OK)
		describe(&f, c->ca_certificate_file, found, max);
}

void pg_tls_explain(const struct config *c, const struct config_url *u, const char *address, struct err *e)
{
	if (c->ca_certificate_file == NULL || u->host[0] == '/' || e->sqlstate[0] != '\0' ||
	    strstr(e->text, "certificate verify failed") == NULL)
		return;
	char asked[sizeof known.asked], found[3 * NAME_BYTES_MAX];
	snprintf(asked, sizeof asked, "%s:%d %s", address, u->port, e->text);
	if (!recall(asked, found, sizeof found)) {
		find_out(c, u, address, found, sizeof found);
		remember(asked, found);
	}
	if (found[0] != '\0')
		(void)err_set(e, ERR_PG_CONN, PG_TLS_VERIFY_FAILED "%s", found);
}
