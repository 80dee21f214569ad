# Shared by the server scripts beside it: the cache, the ways to fetch, the life of a daemon.
#
# A server lives in a folder of its own: DIR/pid, DIR/log, DIR/lock and its data. It runs in a session of
# its own, so it outlives its caller until `stop DIR` or `kill DIR`. Start, stop and kill of one DIR exclude
# each other, so that a kill sent during a start still finds the server. Fetched files go to BINLAKE_CACHE;
# the system's packages, apt sources and Maven repository are only read.
set -euo pipefail
BINLAKE_CACHE=${BINLAKE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/binlake}
here=$(dirname "$(readlink -f "$0")")
HOST=127.0.0.1
ARCH=x86_64-linux-gnu
die() { echo "${0##*/}: $*" >&2; exit 1; }
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 2; }
need() { for p in "$@"; do command -v "$p" >/dev/null || die "needs $p (see install-deps.sh)"; done; }

# once DEST FUNCTION ARGS...: FUNCTION fills the folder named by its last argument, which becomes DEST only when all went well
once() {
  local dest=$1; shift
  [ ! -e "$dest" ] || return 0
  mkdir -p "$BINLAKE_CACHE"
  (
    flock 9
    [ ! -e "$dest" ] || exit 0
    echo "fetching ${dest##*/} into $BINLAKE_CACHE" >&2
    # What the tools say, a server's first start among it, matters only when they fail.
    exec 3>&2 >"$dest.log" 2>&1
    trap '[ $? = 0 ] || tail -30 "$dest.log" >&3' EXIT
    rm -rf "$dest.new"; mkdir -p "$dest.new"; "$@" "$dest.new"; mv "$dest.new" "$dest"; rm "$dest.log"
  ) 9>"$BINLAKE_CACHE/${dest##*/}.lock"
}

# mvn_quiet ARGS...: Maven with the cache's own repository, one at a time (a local repository is not safe for two)
mvn_quiet() {
  need mvn java
  ( flock 7; mvn -q -B -ntp -Dmaven.repo.local="$BINLAKE_CACHE/m2" "$@" >&2 ) 7>"$BINLAKE_CACHE/m2.lock"
}

# maven G:A:V[:TYPE:CLASSIFIER] FILE
maven() {
  mvn_quiet org.apache.maven.plugins:maven-dependency-plugin:3.8.1:get -Dtransitive=false -Dartifact="$1"
  mv "$(find "$BINLAKE_CACHE/m2" \( -name '*.jar' -o -name '*.zip' \) -path "*/$(cut -d: -f2,3 <<<"$1" | tr : /)/*")" "$2"
}

# jars POM PROPERTY VERSION DEST: all jars that POM names into DEST, with the version of its product set
jars() {
  mvn_quiet -f "$1" -D"$2=$3" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$4"
}

# npm_pack NAME@VERSION DEST: unpack an npm package without running its scripts
npm_pack() {
  need npm
  (mkdir -p "$2" && cd "$2" && tar xzf "$(npm pack --silent "$1" 2>/dev/null | tail -1)" && rm -f ./*.tgz)
}

# debs SUITE DEST [-only] PACKAGE...: unpack packages of a Debian suite into DEST, with all they depend on
# (-only: without), from the mirror that this machine's apt is set up with
debs() {
  need apt-get dpkg-deb
  [ "$(uname -m)" = x86_64 ] || die "no servers for $(uname -m), only for x86_64"
  local suite=$1 dest=$2 a uri only= f; shift 2
  a=$BINLAKE_CACHE/apt-$suite-$BASHPID
  if [ "$1" = -only ]; then only=1; shift; fi
  mkdir -p "$a"/{lists/partial,cache/archives/partial} "$dest"/usr/{bin,sbin,lib,lib64}
  for f in bin sbin lib lib64; do ln -sfn "usr/$f" "$dest/$f"; done # as a merged /usr has it
  : >"$a/status"
  uri=$(. /etc/os-release; apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
    awk -v r="$VERSION_CODENAME" '$2 == r { print $1; exit }')
  [ -n "$uri" ] || die "no Debian source in this machine's apt"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main" >"$a/sources.list"
  local o=(-qq -o "Dir::Etc::sourcelist=$a/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
    -o "Dir::State=$a" -o "Dir::State::lists=$a/lists" -o "Dir::State::status=$a/status"
    -o "Dir::Cache=$a/cache" -o APT::Sandbox::User=root -o APT::Install-Recommends=false
    -o Debug::NoLocking=true -o Acquire::Languages=none -o Acquire::Retries=3)
  apt-get "${o[@]}" update
  if [ -n "$only" ]; then (cd "$a/cache/archives" && apt-get "${o[@]}" download "$@")
  else apt-get "${o[@]}" -y -d install "$@" >/dev/null; fi
  for f in "$a"/cache/archives/*.deb; do
    case ${f##*/} in
    perl* | libperl*) ;; # only maintainer scripts want it
    *) dpkg-deb --fsys-tarfile "$f" | tar x -C "$dest" --keep-directory-symlink ;;
    esac
  done
  rm -rf "$a" "$dest"/usr/share/{doc,man,locale}
}

# old_libs DEST: libraries that binaries of before 2020 want and a new Debian lacks
old_libs() { debs bookworm "$1" -only libaio1 libnuma1 libtinfo5 libncurses5; }

# run_script TREE: write TREE/run, which runs one of the tree's programs with the tree's libraries
run_script() {
  local r=$1
  if [ -e "$r/usr/lib/$ARCH/ld-linux-x86-64.so.2" ]; then # of another Debian: by its own loader
    printf '%s\n' '#!/bin/sh' 'R=${0%/run} p=$1; shift' "L=\$R/usr/lib/$ARCH" \
      '[ -x "$R/usr/sbin/$p" ] && p=$R/usr/sbin/$p || p=$R/usr/bin/$p' \
      'exec "$L/ld-linux-x86-64.so.2" --library-path "$L:$R/usr/lib/mysql/private" "$p" "$@"' >"$r/run"
  else
    printf '%s\n' '#!/bin/sh' 'R=${0%/run} p=$1; shift' \
      "export LD_LIBRARY_PATH=\$R/old/lib/$ARCH:\$R/libs" 'exec "$R/bin/$p" "$@"' >"$r/run"
    find "$r/bin" -type f -exec chmod +x {} +
  fi
  chmod +x "$r/run"
}

# absolute DIR: its path, as the server's command line names it
absolute() { [ -d "$1" ] || die "no folder $1"; (cd "$1" && pwd -P); }

# exclusive DIR: from here to the script's end, no other start, stop or kill of DIR
exclusive() { exec 8>"$1/lock"; flock 8; }

# daemon DIR COMMAND...: run it detached, its output in DIR/log, its pid in DIR/pid and in `started[DIR]`
declare -A started
daemon() {
  local d=$1; shift
  setsid "$@" >>"$d/log" 2>&1 </dev/null 8>&- &
  started[$d]=$!
  echo $! >"$d/pid"
}

# server_pid DIR: the pid of DIR's server, if it runs (a pid used again by another program is not it)
server_pid() {
  local p; p=$(cat "$1/pid" 2>/dev/null) && [ -n "$p" ] || return 1
  { tr '\0' ' ' <"/proc/$p/cmdline"; } 2>/dev/null | grep -qF -- "$1/" && echo "$p"
}

# not_running DIR: or die; and drop what a killed server left (its socket lock may name a pid that is used again)
not_running() { ! server_pid "$1" >/dev/null || die "already running in $1"; rm -f "$1"/{pid,s,s.lock}; }

# alive PID: a zombie is not
alive() { grep -qs '^State:.[^ZX]' "/proc/$1/status"; }

# end_servers SIGNAL SECONDS DIR...: all at once; waits till they are gone, SIGKILL for those that stay
end_servers() {
  local signal=$1 end=$((SECONDS + $2)) d p pids=(); shift 2
  for d in "$@"; do
    if p=$(server_pid "$d"); then pids+=("$p"); kill "-$signal" "$p" 2>/dev/null || :; fi
  done
  while [ $SECONDS -le $end ]; do
    for p in "${pids[@]}"; do if alive "$p"; then sleep 0.02; continue 2; fi; done
    for d in "$@"; do rm -f "$d/pid"; done
    return 0
  done
  [ "$signal" != KILL ] || die "will not die: ${pids[*]}"
  end_servers KILL 60 "$@"
}

# wait_ready DIR COMMAND...: till COMMAND works, or the server that `daemon` started dies
wait_ready() {
  local d=$1 end=$((SECONDS + 120)); shift
  while [ $SECONDS -lt $end ]; do
    if "$@" >/dev/null 2>"$d/ready.err"; then rm -f "$d/ready.err"; return; fi
    alive "${started[$d]}" || { tail -20 "$d/log" >&2; die "the server in $d died, see $d/log"; }
    sleep 0.05
  done
  cat "$d/ready.err" >&2
  die "the server in $d is not ready after 120 s, see $d/log"
}

# listening PORT
listening() { (exec 3<>"/dev/tcp/$HOST/$1") 2>/dev/null; }

# cluster_commands PRODUCT MEMBER_FILE COMMAND ARGS...: fetch, start, node, stop and kill of servers that are folders
# DIR/1, DIR/2, … with MEMBER_FILE in each, as Kafka and ZooKeeper are. The caller defines `config DIR PORT MEMBERS`, `node DIR I`
# (start it) and `ready DIR I`, and sets V and R.
cluster_commands() {
  local product=$1 file=$2 cmd=$3 d n i v all; shift 3
  members() { find "$1" -mindepth 2 -maxdepth 2 -name "$file" -printf '%h\n'; }
  case $cmd in
  fetch)
    for v in "${@:-$V}"; do once "$BINLAKE_CACHE/$product-$v" jars "$here/$product.pom.xml" "$product.version" "$v"; done ;;
  start)
    [ $# -ge 2 ] || usage
    need java
    [ -d "$R" ] || "$0" fetch "$V"
    mkdir -p "$1"
    d=$(absolute "$1") n=${3:-1}
    exclusive "$d"
    config "$d" "$2" "$n"
    for ((i = 1; i <= n; i++)); do node "$d" "$i"; done
    for ((i = 1; i <= n; i++)); do ready "$d" "$i"; done ;;
  node) d=$(absolute "$1"); exclusive "$d"; node "$d" "$2"; ready "$d" "$2" ;;
  stop) d=$(absolute "$1"); exclusive "$d"; mapfile -t all < <(members "$d"); end_servers TERM 15 "${all[@]}" ;;
  kill)
    d=$(absolute "$1")
    exclusive "$d"
    if [ $# = 2 ]; then all=("$d/$2"); else mapfile -t all < <(members "$d"); fi
    end_servers KILL 60 "${all[@]}" ;;
  esac
}
