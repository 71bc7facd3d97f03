/*
 * admit.h - how many requests may run at once, by kind. Private to src/http.
 */
#ifndef BUSBAR_HTTP_ADMIT_H
#define BUSBAR_HTTP_ADMIT_H

#include "http/request.h"

void admit_init(struct http *h);
void admit_clear(struct http *h);
/* Takes a permit; false: there is none, and admit_refuse() is the answer. */
bool admit(struct request *r, bool existing) MUST_USE;
/* Its snapshot has begun: others may ask for new shapes. */
void admit_swap(struct request *r);
void admit_release(struct request *r);
enum step admit_refuse(struct request *r);
/* Seconds after which `ms` will have passed, a little more for some than for others: so that those who are sent away
 * together don't come back together. */
int admit_retry_after(struct request *r, int64_t ms);

#endif
