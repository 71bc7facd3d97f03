# packaging.cmake - what `cmake --install` and `cpack` (a .deb) make of a build. CMakeLists.txt includes it, at its end.
#
#   cmake --install build --prefix /usr/local
#   cd build && cpack                               build/busbar_VERSION-1~deb12_amd64.deb
include(GNUInstallDirs)

install(TARGETS busbar RUNTIME)
if(BUSBAR_BENCH)
  install(TARGETS busbar-bench RUNTIME)
endif()
install(FILES LICENSE NOTICE CHANGELOG.md packaging/copyright TYPE DOC)
install(FILES packaging/busbar.service DESTINATION lib/systemd/system) # where systemd looks below /usr and /usr/local
install(FILES packaging/busbar.env DESTINATION ${CMAKE_INSTALL_DATADIR}/busbar)

# A manual page of what the program says to --help. Only where it runs: not where it is built for another machine, and with
# a sanitizer it might not start.
function(busbar_manual program)
  set(page ${CMAKE_BINARY_DIR}/generated/${program}.1)
  add_custom_command(OUTPUT ${page} VERBATIM
    DEPENDS ${program} packaging/man.awk packaging/man.sh packaging/${program}.1.more
    COMMAND sh ${CMAKE_SOURCE_DIR}/packaging/man.sh $<TARGET_FILE:${program}> ${PROJECT_VERSION} ${manual_date} ${page})
  add_custom_target(manual-${program} ALL DEPENDS ${page})
  install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
endfunction()
if(NOT CMAKE_CROSSCOMPILING AND NOT SANITIZE AND NOT FUZZ)
  string(TIMESTAMP manual_date "%Y-%m-%d" UTC) # SOURCE_DATE_EPOCH, if set
  busbar_manual(busbar)
  if(BUSBAR_BENCH)
    busbar_manual(busbar-bench)
  endif()
endif()

# The system's release is part of the version, so that the package of the next one is the newer: 0.1.0-1~deb12.
set(release 1)
if(EXISTS /etc/os-release)
  set(system "")
  foreach(key ID VERSION_ID)
    file(STRINGS /etc/os-release value REGEX "^${key}=")
    string(REGEX REPLACE "^${key}=\"?([^\"]*)\"?$" "\\1" value "${value}")
    string(APPEND system "${value}")
  endforeach()
  string(REGEX REPLACE "^debian" "deb" system "${system}")
  if(system MATCHES "^[a-z0-9.]+$")
    string(APPEND release "~${system}")
  endif()
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME busbar)
set(CPACK_PACKAGE_VENDOR "The Busbar authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "serves shapes of Postgres tables over HTTP")
set(CPACK_PACKAGE_DESCRIPTION "Busbar reads one logical replication stream of Postgres, keeps a log for each shape
(a table, or some of its rows and columns) and serves the logs over HTTP, to any number of clients. It speaks the
protocol of the ElectricSQL sync service and takes its environment variables.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "The Busbar authors")
set(CPACK_DEBIAN_PACKAGE_RELEASE ${release})
set(CPACK_DEBIAN_PACKAGE_SECTION database)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON) # package dpkg-dev
set(CPACK_DEBIAN_PACKAGE_DEPENDS tzdata)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS ca-certificates)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_LIST_DIR}/debian/postinst ${CMAKE_CURRENT_LIST_DIR}/debian/prerm
  ${CMAKE_CURRENT_LIST_DIR}/debian/postrm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
