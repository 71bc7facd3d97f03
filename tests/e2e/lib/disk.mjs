// A file system that can be filled: a tmpfs of its own, which needs root.

import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { cannot } from './cannot.mjs'
import { temporary } from './util.mjs'

const SMALL = '6m'
const ROOMY = '400m'

// { dir, makeRoom() }; undefined where none can be mounted. Ends with the test.
export function smallDisk(t) {
  const dir = temporary('tmpfs')
  const mount = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${SMALL}`, 'tmpfs', dir], { encoding: 'utf8' })
  if (mount.status !== 0) return cannot(t, `no tmpfs can be mounted here (${(mount.stderr ?? mount.error?.message ?? '').trim()})`)
  t.cleanup(() => spawnSync('umount', ['-l', dir]))
  return { dir, makeRoom: () => spawnSync('mount', ['-o', `remount,size=${ROOMY}`, dir]) }
}

// A daemon's storage, which isn't started yet, is there.
export function storeOn(disk, busbar) {
  rmSync(busbar.storage, { recursive: true })
  busbar.storage = disk.dir
}
