/* admin_page.h - the admin page's files, as the build made them of admin.html, admin.css and admin.js (embed.cmake). Constants. */
#ifndef BUSBAR_OPS_ADMIN_PAGE_H
#define BUSBAR_OPS_ADMIN_PAGE_H

#include <stddef.h>

extern const unsigned char admin_html[], admin_css[], admin_js[];
extern const size_t admin_html_len, admin_css_len, admin_js_len;

#endif
