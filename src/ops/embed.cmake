# embed.cmake - writes OUT, a C file with what is in admin.html, admin.css and admin.js of FOLDER. Run by the build when one of them has
# changed; needs nothing but CMake, so that it works wherever the rest is built.
set(text "/* Made by src/ops/embed.cmake. */\n#include \"ops/admin_page.h\"\n")
foreach(kind html css js)
  file(READ ${FOLDER}/admin.${kind} hex HEX)
  string(LENGTH "${hex}" length)
  math(EXPR length "${length} / 2")
  string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
  string(APPEND text "\nconst unsigned char admin_${kind}[] = {\n${hex}\n};\nconst size_t admin_${kind}_len = ${length};\n")
endforeach()
file(WRITE ${OUT} "${text}")
