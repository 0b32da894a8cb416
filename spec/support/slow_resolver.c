/* slow_resolver.c - preloaded into a spec's process: every host name takes five seconds to resolve.
 * Numeric addresses stay fast, as they are with real resolvers. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <unistd.h>

typedef int resolver(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
  resolver *real = (resolver *)dlsym(RTLD_NEXT, "getaddrinfo");
  struct in_addr address;
  if (node != NULL && inet_pton(AF_INET, node, &address) != 1) sleep(5);
  return real(node, service, hints, found);
}
