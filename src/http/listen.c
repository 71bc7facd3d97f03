/* listen.c - see listen.h. */
#include "http/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

int listen_open(int port, bool v6, int backlog, const char *setting, struct err *e)
{
	int one = 1, zero = 0, fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, errno, "cannot open a listening socket%s", v6 ? " for IPv6 (ELECTRIC_LISTEN_ON_IPV6)" : "");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any, .sin6_port = htons((uint16_t)port)};
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	/* Accepted sockets inherit this. (Not TCP_USER_TIMEOUT: to the kernel a slow reader's closed window is a dead peer;
	 * conn_check_progress() tells them apart.) */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (v6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
	int bound = v6 ? bind(fd, (struct sockaddr *)&a6, sizeof a6) : bind(fd, (struct sockaddr *)&a4, sizeof a4);
	if (bound == 0 && listen(fd, backlog) == 0)
		return fd;
	err_errno(e, errno, "cannot listen on port %d (%s)", port, setting);
	close(fd);
	return -1;
}
