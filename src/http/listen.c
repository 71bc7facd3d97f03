/* listen.c - see listen.h. */
#include "http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/require.h"

/* Whether on one address or on all: the second could never listen. */
int listen_check_config(const struct config *config, struct err *e)
{
	const struct { int port; const char *setting; } all[] = {
		{config->port, "ELECTRIC_PORT"}, {config->prometheus_port, "ELECTRIC_PROMETHEUS_PORT"}, {config->admin_port, "BUSBAR_ADMIN_PORT"},
	};
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		for (size_t j = 0; j < i; j++)
			if (all[i].port != 0 && all[i].port == all[j].port)
				return err_set(e, ERR_CONFIG, "%s: must be another port than %s, which is %d too", all[i].setting, all[j].setting, all[j].port);
	return 0;
}

int listen_open(const char *address, int port, bool v6, int backlog, const char *setting, struct err *e)
{
	v6 = address != NULL ? strchr(address, ':') != NULL : v6;
	int one = 1, zero = 0, fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, errno, "cannot open a listening socket%s", v6 ? " for IPv6 (ELECTRIC_LISTEN_ON_IPV6)" : "");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any, .sin6_port = htons((uint16_t)port)};
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	if (address != NULL && inet_pton(v6 ? AF_INET6 : AF_INET, address, v6 ? (void *)&a6.sin6_addr : (void *)&a4.sin_addr) != 1) {
		close(fd);
		return err_set(e, ERR_CONFIG, "%s is not an IP address to listen on", address);
	}
	/* Accepted sockets inherit this. (Not TCP_USER_TIMEOUT: to the kernel a slow reader's closed window is a dead peer;
	 * conn_check_progress() tells them apart.) */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (v6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
	int bound = v6 ? bind(fd, (struct sockaddr *)&a6, sizeof a6) : bind(fd, (struct sockaddr *)&a4, sizeof a4);
	if (bound == 0 && listen(fd, backlog) == 0)
		return fd;
	err_errno(e, errno, "cannot listen on %s%sport %d (%s)", address != NULL ? address : "", address != NULL ? ", " : "", port, setting);
	close(fd);
	return -1;
}

bool listen_is_loopback(const char *address)
{
	struct in_addr a;
	struct in6_addr a6;
	if (inet_pton(AF_INET, address, &a) == 1)
		return ntohl(a.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, address, &a6) == 1 && IN6_IS_ADDR_LOOPBACK(&a6);
}
