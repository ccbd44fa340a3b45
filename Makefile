# SPDX-License-Identifier: BSD-2-Clause
#
# One makefile, no recursion into folders. What is in a layer's folder is in its library; the layers
# are linked in one order, and scripts/layers.py keeps the includes in it too. Each profile has a
# folder of its own below build/.

.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

ifeq ($(origin CC),default)
CC := gcc
endif
CLANG ?= clang
PKG_CONFIG ?= pkg-config
PREFIX ?= /usr/local
# WERROR=1 turns warnings into errors, as CI does; not the default, so that a newer compiler does
# not break a build.
WERROR ?= 0
# Seeds of one run of the simulator in the tests.
SEEDS ?= 1000
# Seconds that each fuzz target runs.
FUZZ_SECONDS ?= 60
# Streams of one run of hostile clients in the tests.
STREAMS ?= 100000
# Commands of one run of the differential test.
COMMANDS ?= 200000

Q := $(if $(filter 1,$(V)),,@)
is_silent := $(findstring s,$(firstword -$(MAKEFLAGS)))
say = $(if $(is_silent),,@printf '  %-5s %s\n' $(1) $(2))
# $(call once,VARIABLE,command): run the command when the variable is first asked for, then keep it.
once = $(eval $(1) := $(shell $(2)))$($(1))

# -- what is built of what -----------------------------------------------------

PURE_LAYERS := base mc core
# In link order: each may use those after it.
LAYERS := admin shell config core mc base
# The page's files, as C.
WEB := $(sort $(wildcard admin/web/*))
SOURCES.admin := $(sort $(wildcard admin/*.c)) build/gen/web.c
$(foreach l,shell config core mc base,$(eval SOURCES.$(l) := $(sort $(wildcard src/$(l)/*.c))))
SOURCES.main := src/main.c
# The program of operators: a library too, so that unit tests reach it.
SOURCES.ctlmain := src/ctl/main.c
SOURCES.ctl := $(filter-out $(SOURCES.ctlmain),$(sort $(wildcard src/ctl/*.c)))
SOURCES.sim := $(sort $(wildcard tests/sim/*.c))
UNIT_TESTS := $(sort $(wildcard tests/unit/test_*.c))
# What unit tests and the simulator share: the handler of broken invariants, helpers.
SOURCES.testing := $(filter-out $(UNIT_TESTS),$(sort $(wildcard tests/unit/*.c)))
BENCH_TOOLS := $(sort $(wildcard tests/bench/*.c))
FUZZ_TARGETS := $(sort $(wildcard tests/fuzz/fuzz_*.c))
# A client of the end-to-end tests that is in C: it uses libmemcached.
SOURCES.client := tests/e2e/clients/libmemcached_use.c
# A program of its own, which plays streams as a fuzz target does, without libFuzzer.
SOURCES.hostile := $(sort $(wildcard tests/hostile/*.c)) tests/fuzz/fuzz_dataplane.c
SOURCES.fuzzing := $(filter-out $(FUZZ_TARGETS),$(sort $(wildcard tests/fuzz/*.c)))

ALL_SOURCES = $(foreach l,$(LAYERS) main ctl ctlmain sim testing fuzzing hostile client, \
    $(SOURCES.$(l))) $(UNIT_TESTS) $(BENCH_TOOLS) $(FUZZ_TARGETS)

PACKAGES := libevent_core libevent_pthreads jansson libmicrohttpd libcrypto
PACKAGE_CFLAGS = $(call once,PACKAGE_CFLAGS,$(PKG_CONFIG) --cflags $(PACKAGES))
PACKAGE_LIBS = -Wl,--as-needed $(call once,EVERY_LIB,$(PKG_CONFIG) --libs $(PACKAGES)) -lm -pthread
# What the pure layers need (base64): see scripts/purity.sh.
PURE_LIBS = $(call once,CRYPTO_LIBS,$(PKG_CONFIG) --libs libcrypto)
CHECK_LIBS = $(call once,CHECK_LIBS,$(PKG_CONFIG) --libs check)
CTL_LIBS = $(call once,CTL_LIBS,$(PKG_CONFIG) --libs libcurl jansson)

# -- flags and profiles --------------------------------------------------------

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
    -Wcast-qual -Wpointer-arith -Wwrite-strings -Wformat=2 -Wundef -Wvla -Wswitch-enum \
    -Wimplicit-fallthrough $(if $(filter 1,$(WERROR)),-Werror)
COMMON_CFLAGS := -std=c11 -g -pthread -Iinclude $(WARNINGS)
# The pure layers see no more than C11; all else may use what Linux has.
layer_cflags = $(if $(filter $(PURE_LAYERS:%=src/%/%),$(1)),,-D_GNU_SOURCE= $(PACKAGE_CFLAGS)) \
    $(if $(filter tests/%,$(1)),-Isrc -Itests -Itests/unit) \
    $(if $(filter tests/fuzz/%,$(1)),-I.)

HARDENED := -O2 -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE

PROFILES := release clang asan tsan mutant pure fuzz coverage sim
CC.release = $(CC)
CFLAGS.release := $(HARDENED)
LDFLAGS.release := -pie -Wl,-z,relro,-z,now
CC.clang = $(CLANG)
CFLAGS.clang := $(HARDENED)
LDFLAGS.clang := $(LDFLAGS.release)
CC.asan = $(CC)
CFLAGS.asan := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
LDFLAGS.asan := -fsanitize=address,undefined
CC.tsan = $(CC)
CFLAGS.tsan := -O1 -fno-omit-frame-pointer -fsanitize=thread
LDFLAGS.tsan := -fsanitize=thread
FUZZ_SANITIZERS := address,undefined
CC.fuzz = $(CLANG)
CFLAGS.fuzz := -O1 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,$(FUZZ_SANITIZERS) \
    -fno-sanitize-recover=all
LDFLAGS.fuzz := -fsanitize=fuzzer,$(FUZZ_SANITIZERS)
# The fuzz targets once more, to see which lines and branches their inputs reach.
CC.coverage = $(CLANG)
CFLAGS.coverage := -O0 -fprofile-instr-generate -fcoverage-mapping
LDFLAGS.coverage := -fsanitize=fuzzer -fprofile-instr-generate
# One rule of the core is broken at a time (everwarm/core/rule.h): does the simulator notice?
CC.mutant = $(CC)
CFLAGS.mutant := -O2 -DEVERWARM_MUTANTS
LDFLAGS.mutant :=
# The simulator for its long run: for this machine's processor, as fast as it gets.
CC.sim = $(CC)
CFLAGS.sim := -O3 -march=native -flto=auto -fno-pie -fno-plt
LDFLAGS.sim := $(CFLAGS.sim) -no-pie
# What scripts/purity.sh looks into: nothing in it but what the sources call.
CC.pure = $(CC)
CFLAGS.pure := -O2 -fno-stack-protector -U_FORTIFY_SOURCE
LDFLAGS.pure :=

objects = $(patsubst %.c,build/$(1)/obj/%.o,$(2))
libraries = $(foreach l,$(2),build/$(1)/lib$(l).a)
unit_programs = $(patsubst tests/unit/%.c,build/$(1)/unit/%,$(UNIT_TESTS))
fuzz_programs = $(patsubst tests/fuzz/%.c,build/$(1)/fuzz/%,$(FUZZ_TARGETS))
bench_programs := $(patsubst tests/bench/%.c,build/release/bench/%,$(BENCH_TOOLS))

# A file that changes when its text does: objects hang on the flags that made them, archives and
# programs on the list of what belongs in them, so that a removed source leaves them too.
.PHONY: FORCE
FORCE:
stamp = @mkdir -p $(@D); echo '$(strip $(1))' | cmp -s - $@ || echo '$(strip $(1))' >$@

build/gen/web.list: FORCE
	$(call stamp,$(WEB))

build/gen/web.c: scripts/embed.sh $(WEB) build/gen/web.list
	$(call say,GEN,$@)
	$(Q)scripts/embed.sh $(WEB) >$@

define layer_rules # profile, layer
build/$(1)/lib$(2).a: $$(call objects,$(1),$$(SOURCES.$(2))) build/$(1)/sources
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && ar rcsD $$@ $$(filter %.o,$$^)
endef

# A unit test is linked with its own layer and those below, so a test of pure code proves that it
# needs nothing else. Its layer: test_LAYER..., or that of the source test_SOURCE is named after, or
# core. Those of the operators' program need its layer and base.
in_layer = $(or $(filter test_$(2)%,$(1)),$(filter %/$(1:test_%=%).c,$(SOURCES.$(2))))
layer_of_test = $(firstword $(foreach l,$(LAYERS),$(if $(call in_layer,$(1),$(l)),$(l))) core)
down_from = $(if $(filter $(1),$(firstword $(2))),$(2),$(call down_from,$(1),$(wordlist 2,9,$(2))))
test_layers = $(if $(filter test_ctl%,$(1)),ctl base,$(call \
    down_from,$(call layer_of_test,$(1)),$(LAYERS)))

define unit_rules # profile, test
build/$(1)/unit/$(2): build/$(1)/obj/tests/unit/$(2).o \
    $$(call libraries,$(1),$$(call test_layers,$(2)) testing)
	$$(call say,LD,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC.$(1)) $$(LDFLAGS.$(1)) $$(LDFLAGS) -o $$@ -Wl,--start-group $$^ -Wl,--end-group \
	    $$(CHECK_LIBS) $$(PACKAGE_LIBS) $(if $(filter test_ctl%,$(2)),$$(CTL_LIBS))
endef

define profile_rules # profile
build/$(1)/flags: FORCE
	$$(call stamp,$$(CC.$(1)) $$(COMMON_CFLAGS) $$(CFLAGS.$(1)) $$(CFLAGS))

build/$(1)/sources: FORCE
	$$(call stamp,$$(ALL_SOURCES))

build/$(1)/obj/%.o: %.c build/$(1)/flags
	$$(call say,CC,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC.$(1)) $$(COMMON_CFLAGS) $$(CFLAGS.$(1)) $$(call layer_cflags,$$<) $$(CFLAGS) \
	    -MMD -MP -c -o $$@ $$<

$(foreach l,$(LAYERS) ctl testing fuzzing,$(eval $(call layer_rules,$(1),$(l))))

build/$(1)/everwarm: $$(call objects,$(1),$$(SOURCES.main)) $$(call libraries,$(1),$$(LAYERS))
	$$(call say,LD,$$@)
	$$(Q)$$(CC.$(1)) $$(LDFLAGS.$(1)) $$(LDFLAGS) -o $$@ $$^ $$(PACKAGE_LIBS)

build/$(1)/everwarmctl: $$(call objects,$(1),$$(SOURCES.ctlmain)) $$(call libraries,$(1),ctl base)
	$$(call say,LD,$$@)
	$$(Q)$$(CC.$(1)) $$(LDFLAGS.$(1)) $$(LDFLAGS) -o $$@ $$^ $$(CTL_LIBS)

build/$(1)/sim: $$(call objects,$(1),$$(SOURCES.sim)) \
    $$(call libraries,$(1),core mc base testing) build/$(1)/sources
	$$(call say,LD,$$@)
	$$(Q)$$(CC.$(1)) $$(LDFLAGS.$(1)) $$(LDFLAGS) -o $$@ $$(filter %.o %.a,$$^) \
	    $$(PURE_LIBS)

build/$(1)/libmemcached_use: $$(call objects,$(1),$$(SOURCES.client))
	$$(call say,LD,$$@)
	$$(Q)$$(CC.$(1)) $$(LDFLAGS.$(1)) $$(LDFLAGS) -o $$@ $$^ -lmemcached

build/$(1)/hostile: $$(call objects,$(1),$$(SOURCES.hostile)) \
    $$(call libraries,$(1),core mc base testing fuzzing) build/$(1)/sources
	$$(call say,LD,$$@)
	$$(Q)$$(CC.$(1)) $$(LDFLAGS.$(1)) $$(LDFLAGS) -o $$@ -Wl,--start-group \
	    $$(filter %.o %.a,$$^) -Wl,--end-group $$(PURE_LIBS)

$(foreach t,$(UNIT_TESTS),$(eval $(call unit_rules,$(1),$(notdir $(basename $(t))))))

build/$(1)/fuzz/%: build/$(1)/obj/tests/fuzz/%.o \
    $$(call libraries,$(1),$(LAYERS) testing fuzzing)
	$$(call say,LD,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC.$(1)) $$(LDFLAGS.$(1)) $$(LDFLAGS) -o $$@ -Wl,--start-group $$^ -Wl,--end-group \
	    $$(PACKAGE_LIBS)

build/$(1)/bench/%: build/$(1)/obj/tests/bench/%.o $$(call libraries,$(1),core mc base testing)
	$$(call say,LD,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC.$(1)) $$(LDFLAGS.$(1)) $$(LDFLAGS) -o $$@ $$^ $$(PURE_LIBS)
endef
$(foreach p,$(PROFILES),$(eval $(call profile_rules,$(p))))
# What the assembler takes in is not among the headers that the compiler tells of.
$(foreach p,$(PROFILES),$(eval build/$(p)/obj/admin/openapi.o: admin/openapi/schemas.json))
.SECONDARY:
-include $(foreach p,$(PROFILES),$(patsubst %.o,%.d,$(call objects,$(p),$(ALL_SOURCES))))

# -- targets -------------------------------------------------------------------

.DEFAULT_GOAL := all
.PHONY: all clang run test ci unit unit-tsan conformance differential differential-long hostile
.PHONY: unit-release sim sim-long e2e
.PHONY: mutants mutants-quick histories soak soak-asan bench-quick bench-foreground
.PHONY: admin-attack fuzz
.PHONY: fuzz-coverage
.PHONY: checks layers purity headers tidy format-check clang-tidy cppcheck
.PHONY: install deb clean deps help

programs = build/$(1)/everwarm build/$(1)/everwarmctl

all: $(call programs,release) ## build into build/ (V=1: show commands, WERROR=1: as CI)
	@for program in $^; do ln -sf "release/$${program##*/}" "build/$${program##*/}"; done

clang: $(call programs,clang) ## build with clang into build/clang/

run: ## install what is missing, build, serve two memcacheds of our own in the foreground
	@scripts/deps.sh run
	@$(MAKE) --no-print-directory -j"$$(nproc)" all
	@exec build/everwarm --local 2

test: ## everything that CI runs: from a bare machine to the end-to-end tests
	@scripts/deps.sh test
	@scripts/test.sh test

ci: ## test, and: clang, format, clang-tidy, cppcheck, end-to-end with ASan and TSan
	@scripts/deps.sh ci
	@scripts/test.sh ci

unit: $(call unit_programs,asan) ## unit tests, with ASan and UBSan
	@scripts/unit.sh $^

unit-release: $(call unit_programs,release) ## the same tests on what is shipped
	@scripts/unit.sh $^

# The pure layers have no threads.
threaded_tests := $(foreach t,$(notdir $(basename $(UNIT_TESTS))),\
    $(if $(filter $(PURE_LAYERS),$(call layer_of_test,$(t))),,build/tsan/unit/$(t)))
unit-tsan: $(threaded_tests)
	@scripts/unit.sh $^

conformance: build/asan/everwarm ## the protocol table: on two versions of memcached, and through us
	@scripts/conformance.sh $<

differential: build/release/everwarm ## random programs to memcached and to us: COMMANDS=n, SEED=s
	@scripts/differential.sh $< $(COMMANDS) $(SEED)

differential-long: build/release/everwarm ## the same with ten million: about half an hour
	@scripts/differential.sh $< 10000000 $(SEED)

hostile: build/asan/hostile build/release/hostile ## hostile clients: STREAMS=n, or SEED=s alone
	@$(if $(SEED),build/asan/hostile --seed $(SEED),build/asan/hostile --streams \
	    $(shell expr $(STREAMS) / 10) && build/release/hostile --streams $(STREAMS))

sim: build/release/sim build/asan/sim ## the simulator: SEEDS=n seeds, or SEED=s alone
	@$(if $(SEED),build/asan/sim --seed $(SEED),$(sim_all))

# The checker itself; the same seed gives the same trace; a few seeds with sanitizers; all seeds;
# some in which the set of nodes changes; some in which proxies are cut off and come back; some in
# which they end and are started again; some in which they die during long fills; some that are
# split, and heal.
sim_all = build/release/sim --self-test && build/release/sim --repeat --seeds 10 && \
    build/asan/sim --seeds $(shell expr $(SEEDS) / 40 + 5) && \
    build/release/sim --seeds $(SEEDS) && \
    build/release/sim --profile members --seeds $(shell expr $(SEEDS) / 10 + 20) && \
    build/release/sim --profile away --seeds $(shell expr $(SEEDS) / 10 + 20) && \
    build/release/sim --profile farewell --seeds $(shell expr $(SEEDS) / 10 + 20) && \
    build/release/sim --profile long --seeds $(shell expr $(SEEDS) / 10 + 20) && \
    build/release/sim --profile split --seeds $(shell expr $(SEEDS) / 25 + 20)

# Goes on where it stopped; SIM_SECONDS=n: stops then, SEEDS=n: others than a million.
sim-long: build/sim/sim ## a million seeds of the simulator: many hours, in parts if need be
	@scripts/sim-long.sh $< $(if $(filter file,$(origin SEEDS)),1000000,$(SEEDS))

mutants: build/mutant/sim ## break each rule of the core: does the simulator notice?
	@build/mutant/sim --mutants --seeds 5000

# Some that are noticed within a few seeds.
MUTANTS_QUICK := READ_COMPLETE,IDENTITY,OTHERS_LEASE,EXISTS_IS_NOT_DONE
mutants-quick: build/mutant/sim
	@build/mutant/sim --mutants --seeds 500 --rules $(MUTANTS_QUICK)

fuzz: $(call fuzz_programs,fuzz) ## every parser, and a dataplane: FUZZ_SECONDS=n each
	@scripts/fuzz.sh run $(FUZZ_SECONDS) $^

fuzz-coverage: $(call fuzz_programs,coverage) ## which lines and branches the fuzzers' inputs reach
	@scripts/fuzz.sh coverage $^

e2e: all build/release/sim ## end-to-end tests on real processes, on two versions of memcached
	@scripts/e2e.sh build/release/everwarm

histories: all build/release/sim ## long histories of real processes under kills, judged
	@HISTORY_ROUNDS=200 E2E_SECONDS=3600 scripts/e2e.sh build/release/everwarm \
	    tests/e2e/test_histories.py tests/e2e/test_partitions.py

soak: all build/release/sim ## SOAK_SECONDS=n of load, and a random fault every 20 s; judged
	@$(soak_run) build/release/everwarm tests/e2e/soak.py

soak-asan: build/asan/everwarm build/release/sim ## the same with ASan and UBSan
	@SOAK_MEMORY=no $(soak_run) $< tests/e2e/soak.py

SOAK_SECONDS ?= 300
soak_run = SOAK_SECONDS=$(SOAK_SECONDS) E2E_SECONDS=$(shell expr $(SOAK_SECONDS) + 300) \
    E2E_MEMCACHED="$(CURDIR)/build/trixie/memcached" scripts/e2e.sh

bench-quick: ## CPU per request beside nutcracker and the null proxy (4 minutes)
	@scripts/deps.sh bench
	@$(MAKE) --no-print-directory all $(bench_programs)
	@scripts/bench-quick.py

admin-attack: ## what clients feel of an attack on the admin port (2 minutes)
	@scripts/deps.sh bench
	@$(MAKE) --no-print-directory all $(bench_programs)
	@scripts/bench-admin.py

bench-foreground: ## what clients feel while a node is filled (2 minutes)
	@scripts/deps.sh bench
	@$(MAKE) --no-print-directory all $(bench_programs)
	@scripts/bench-foreground.py

checks: layers purity headers tidy ## layers, purity, headers and tidy

layers: ## which layer may include what
	@scripts/layers.py

purity: $(call libraries,pure,$(PURE_LAYERS)) ## the pure libraries call nothing from outside
	@scripts/purity.sh $^

headers: ## each header compiles alone, with both compilers
	@scripts/headers.sh $(CC) $(CLANG)

tidy: ## rules of the house that no compiler checks
	@tests/tidy/tidy.py $(ALL_SOURCES)

format-check: ## clang-format has nothing to change
	@scripts/format.sh --check

clang-tidy: ## clang-tidy on our own sources
	@scripts/clang-tidy.sh $(filter-out build/%,\
	    $(foreach l,$(LAYERS) main ctl ctlmain,$(SOURCES.$(l))))

cppcheck:
	@scripts/cppcheck.sh

prefix := $(DESTDIR)$(PREFIX)
install: all ## install below PREFIX=/usr/local (DESTDIR for packagers)
	install -D -m 755 -t "$(prefix)/bin" $(call programs,release)
	install -D -m 644 -t "$(prefix)/share/everwarm" $(wildcard etc/*.json)
	install -D -m 644 -t "$(prefix)/share/everwarm/monitoring" \
	    admin/monitoring/alerts.yml admin/monitoring/dashboard.json
	install -D -m 644 etc/everwarm.sysusers "$(prefix)/lib/sysusers.d/everwarm.conf"
	install -d "$(prefix)/lib/systemd/system"
	sed 's|/usr/local/bin|$(PREFIX)/bin|' etc/everwarm.service \
	    >"$(prefix)/lib/systemd/system/everwarm.service"
	install -D -m 644 -t "$(prefix)/lib/systemd/system" etc/everwarm.socket
	install -D -m 644 -t "$(prefix)/share/man/man1" $(wildcard docs/*.1)
	install -d "$(prefix)/share/bash-completion/completions"
	build/release/everwarmctl completion bash \
	    >"$(prefix)/share/bash-completion/completions/everwarmctl"

deb: ## a Debian package, in build/deb/
	@scripts/deps.sh deb
	@scripts/deb.sh

clean: ## remove all that was built (but memcached 1.6.38, which is fetched)
	rm -rf $(PROFILES:%=build/%) build/gen build/everwarm build/everwarmctl build/test \
	    build/bench build/npm

deps: ## install all that building, running and testing need (not root: says what to type)
	@scripts/deps.sh ci bench

help: ## this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
