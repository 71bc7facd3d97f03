/* test_tls.c - looking into why a certificate was refused: how long that may take, and how often it is done. */
#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "check.h"
#include "pg/tls.h"

#define DRIP_MS 400

static _Atomic int accepted;
static _Atomic bool over;

/* Agrees to TLS and then says so little at a time that no single wait is long. */
static void *drip(void *arg)
{
	int listener = *(int *)arg, fd;
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		char request[8];
		static const unsigned char hello[] = {'S', 22, 3, 3, 64, 0};
		atomic_fetch_add(&accepted, 1);
		bool open = recv(fd, request, sizeof request, MSG_WAITALL) == (ssize_t)sizeof request &&
		            send(fd, hello, sizeof hello, MSG_NOSIGNAL) > 0;
		while (open && !atomic_load(&over)) {
			nanosleep(&(struct timespec){.tv_nsec = DRIP_MS * 1000000}, NULL);
			open = send(fd, "", 1, MSG_NOSIGNAL) == 1;
		}
		close(fd);
	}
	return NULL;
}

static void write_ca(const char *path)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	X509 *ca = X509_new();
	FILE *f = fopen(path, "w");
	REQUIRE(key != NULL && ca != NULL && f != NULL);
	X509_gmtime_adj(X509_getm_notBefore(ca), 0);
	X509_gmtime_adj(X509_getm_notAfter(ca), 3600);
	X509_set_pubkey(ca, key);
	REQUIRE(X509_sign(ca, key, EVP_sha256()) > 0 && PEM_write_X509(f, ca) == 1);
	fclose(f);
	X509_free(ca);
	EVP_PKEY_free(key);
}

static void explain(const struct config *c, const char *text)
{
	struct err e;
	(void)err_set(&e, ERR_PG_CONN, "%s", text);
	pg_tls_explain(c, &c->database, "127.0.0.1", &e);
	CHECK_STR(e.text, text); /* nothing was found out */
}

static void test_bounded(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	REQUIRE(bind(listener, (struct sockaddr *)&at, len) == 0 && listen(listener, 8) == 0 &&
	        getsockname(listener, (struct sockaddr *)&at, &len) == 0);
	pthread_t server;
	REQUIRE(pthread_create(&server, NULL, drip, &listener) == 0);
	char path[] = "/tmp/busbar-test-tls-XXXXXX", host[] = "localhost";
	close(mkstemp(path));
	write_ca(path);
	struct config c = {.database = {.host = host, .port = ntohs(at.sin_port)}, .ca_certificate_file = path};
	int64_t from_ms = clock_mono_ms();
	explain(&c, "SSL error: certificate verify failed");
	CHECK(clock_mono_ms() - from_ms < TLS_LOOK_MAX_MS + 2000);
	CHECK_INT(accepted, 1);
	/* Once for a cause, however often it is met. */
	from_ms = clock_mono_ms();
	for (int i = 0; i < 100; i++)
		explain(&c, "SSL error: certificate verify failed");
	CHECK(clock_mono_ms() - from_ms < TLS_LOOK_MAX_MS);
	CHECK_INT(accepted, 1);
	atomic_store(&over, true);
	explain(&c, "SSL error: certificate verify failed: another");
	CHECK_INT(accepted, 2);
	explain(&c, "connection refused");
	CHECK_INT(accepted, 2);
	shutdown(listener, SHUT_RDWR);
	pthread_join(server, NULL);
	close(listener);
	unlink(path);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN); /* as the daemon does */
	RUN(test_bounded);
	return check_done("tls");
}
