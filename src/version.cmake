# version.cmake - writes OUT, the C file with the commit that is built, unless it says the same already. Run by each build.
#
# COMMIT where it is given (the image is built without .git); else git's answer, with "-dirty" if tracked files differ from
# it; else "unknown".
if(COMMIT STREQUAL "")
  set(COMMIT unknown)
  # Not of a repository that this one was copied into. A work tree has a file .git.
  if(EXISTS ${SOURCE_DIR}/.git)
    execute_process(COMMAND git describe --always --dirty --abbrev=12 --exclude=* WORKING_DIRECTORY ${SOURCE_DIR}
      OUTPUT_VARIABLE answer OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
    if(status EQUAL 0)
      set(COMMIT ${answer})
    endif()
  endif()
endif()
if(NOT COMMIT MATCHES "^[A-Za-z0-9._+-]+$")
  message(FATAL_ERROR "BUSBAR_COMMIT is \"${COMMIT}\": letters, digits and . _ + - are wanted")
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "#include \"version.h\"\n\nconst char busbar_commit[] = \"${COMMIT}\";\n")
