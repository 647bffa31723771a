/* SPDX-License-Identifier: Apache-2.0 */
#include "run_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "build.h"
#include "sizes.h"

enum {
    OPT_NAME = 256,
    OPT_NAMESPACE,
    OPT_GPU,
    OPT_GPU_MEMORY,
    OPT_GPU_WEIGHT,
    OPT_GPU_CAP,
    OPT_MOUNT,
    OPT_RM,
    OPT_KEEP,
    OPT_HANDLER,
    OPT_PULL,
    OPT_MEMORY,
    OPT_CPUS,
    OPT_USER,
    OPT_HOST_NETWORK,
    OPT_READ_ONLY,
    OPT_PRIVILEGED,
};

static const struct option options[] = {
    {"name", required_argument, NULL, OPT_NAME},
    {"namespace", required_argument, NULL, OPT_NAMESPACE},
    {"label", required_argument, NULL, 'l'},
    {"gpu", no_argument, NULL, OPT_GPU},
    {"gpu-memory", required_argument, NULL, OPT_GPU_MEMORY},
    {"gpu-weight", required_argument, NULL, OPT_GPU_WEIGHT},
    {"gpu-cap", required_argument, NULL, OPT_GPU_CAP},
    {"env", required_argument, NULL, 'e'},
    {"mount", required_argument, NULL, OPT_MOUNT},
    {"rm", no_argument, NULL, OPT_RM},
    {"keep", no_argument, NULL, OPT_KEEP},
    {"detach", no_argument, NULL, 'd'},
    {"quiet", no_argument, NULL, 'q'},
    {"handler", required_argument, NULL, OPT_HANDLER},
    {"pull", required_argument, NULL, OPT_PULL},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"cpus", required_argument, NULL, OPT_CPUS},
    {"user", required_argument, NULL, OPT_USER},
    {"workdir", required_argument, NULL, 'w'},
    {"host-network", no_argument, NULL, OPT_HOST_NETWORK},
    {"read-only", no_argument, NULL, OPT_READ_ONLY},
    {"privileged", no_argument, NULL, OPT_PRIVILEGED},
    CTL_COMMON_OPTIONS,
};

static Runtime__V1__LinuxContainerResources *resources(Runtime__V1__LinuxContainerResources **field)
{
    if (!*field)
        *field = build_new(&runtime__v1__linux_container_resources__descriptor);
    return *field;
}

static Runtime__V1__LinuxContainerSecurityContext *security(struct run_options *o)
{
    Runtime__V1__LinuxContainerConfig *l = o->container->linux;
    if (!l->security_context)
        l->security_context = build_new(&runtime__v1__linux_container_security_context__descriptor);
    return l->security_context;
}

static int add_env(const struct command *self, struct run_options *o, const char *text)
{
    const char *equals = strchr(text, '=');
    const char *value = equals ? equals + 1 : getenv(text);
    if (equals == text || !*text)
        return ctl_usage_error(self, "--env needs NAME=VALUE or NAME");
    if (!value)
        return EXIT_OK; /* as docker: unset here, unset there */
    Runtime__V1__KeyValue *kv = build_new(&runtime__v1__key_value__descriptor);
    build_set(&kv->key, text);
    if (equals)
        kv->key[equals - text] = '\0';
    char *copy = NULL;
    build_set(&copy, value);
    kv->value = (ProtobufCBinaryData){strlen(copy), (uint8_t *)copy};
    build_push(&o->container->envs, &o->container->n_envs, kv);
    return EXIT_OK;
}

static int add_mount(const struct command *self, struct run_options *o, char *text)
{
    char *target = strchr(text, ':');
    char *mode = target ? strchr(target + 1, ':') : NULL;
    if (!target || text[0] != '/' || target[1] != '/' ||
        (mode && strcmp(mode, ":ro") != 0 && strcmp(mode, ":rw") != 0))
        return ctl_usage_error(self, "--mount needs /HOST:/CONTAINER[:ro]");
    *target++ = '\0';
    if (mode)
        *mode++ = '\0';
    Runtime__V1__Mount *m = build_new(&runtime__v1__mount__descriptor);
    build_set(&m->host_path, text);
    build_set(&m->container_path, target);
    m->readonly = mode && strcmp(mode, "ro") == 0;
    build_push(&o->container->mounts, &o->container->n_mounts, m);
    return EXIT_OK;
}

static int add_label(const struct command *self, struct run_options *o, char *text)
{
    char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return ctl_usage_error(self, "--label needs NAME=VALUE");
    *equals = '\0';
    build_push_entry(&o->pod->labels, &o->pod->n_labels,
                     &runtime__v1__pod_sandbox_config__labels_entry__descriptor, text, equals + 1);
    build_push_entry(&o->container->labels, &o->container->n_labels,
                     &runtime__v1__container_config__labels_entry__descriptor, text, equals + 1);
    return EXIT_OK;
}

static int set_limits(const struct command *self, struct run_options *o, int opt, const char *text)
{
    Runtime__V1__LinuxContainerResources *c = resources(&o->container->linux->resources);
    Runtime__V1__LinuxContainerResources *p = resources(&o->pod->linux->resources);
    const char *memory = opt == OPT_MEMORY ? text : NULL;
    const char *cpus = opt == OPT_CPUS ? text : NULL;
    int rc = sizes_set(self, memory, cpus, c);
    return rc == EXIT_OK ? sizes_set(self, memory, cpus, p) : rc;
}

static int set_user(const struct command *self, struct run_options *o, const char *text)
{
    char *end = NULL;
    long uid = strtol(text, &end, 10);
    if (end != text && !*end && uid >= 0 && uid <= INT32_MAX) {
        security(o)->run_as_user = build_new(&runtime__v1__int64_value__descriptor);
        security(o)->run_as_user->value = uid;
        return EXIT_OK;
    }
    if (!*text || (*text >= '0' && *text <= '9') || *text == '-' || strchr(text, ':'))
        return ctl_usage_error(self, "--user needs a number or a name of the image");
    build_set(&security(o)->run_as_username, text);
    return EXIT_OK;
}

static int set_pull(const struct command *self, struct run_options *o, const char *text)
{
    if (strcmp(text, "always") == 0)
        o->pull = PULL_ALWAYS;
    else if (strcmp(text, "missing") == 0)
        o->pull = PULL_MISSING;
    else if (strcmp(text, "never") == 0)
        o->pull = PULL_NEVER;
    else
        return ctl_usage_error(self, "--pull needs always, missing or never");
    return EXIT_OK;
}

static int set_gpu_memory(const struct command *self, struct run_options *o, const char *text)
{
    int64_t bytes = 0;
    if (!sizes_bytes(text, &bytes))
        return ctl_usage_error(self, "--gpu-memory: \"%s\" is no size like 4Gi", text);
    o->gpu = true;
    o->gpu_memory = text;
    return EXIT_OK;
}

static Runtime__V1__LinuxSandboxSecurityContext *sandbox_security(struct run_options *o)
{
    if (!o->pod->linux->security_context)
        o->pod->linux->security_context =
            build_new(&runtime__v1__linux_sandbox_security_context__descriptor);
    return o->pod->linux->security_context;
}

static void set_host_network(struct run_options *o)
{
    o->host_network = true;
    Runtime__V1__LinuxSandboxSecurityContext *s = sandbox_security(o);
    ctl_free_message(s->namespace_options ? &s->namespace_options->base : NULL);
    s->namespace_options = build_new(&runtime__v1__namespace_option__descriptor);
    s->namespace_options->network = RUNTIME__V1__NAMESPACE_MODE__NODE;
    Runtime__V1__NamespaceOption *c = build_new(&runtime__v1__namespace_option__descriptor);
    c->network = RUNTIME__V1__NAMESPACE_MODE__NODE;
    ctl_free_message(security(o)->namespace_options ? &security(o)->namespace_options->base : NULL);
    security(o)->namespace_options = c;
}

/* EXIT_OK, or what the command shall return; -1: opt is not ours. */
static int take_option(const struct command *self, struct run_options *o, int opt)
{
    switch (opt) {
    case OPT_NAME:
        build_set(&o->pod->metadata->name, optarg);
        return EXIT_OK;
    case OPT_NAMESPACE:
        build_set(&o->pod->metadata->namespace_, optarg);
        return EXIT_OK;
    case OPT_HANDLER:
        o->handler = optarg;
        return EXIT_OK;
    case 'w':
        build_set(&o->container->working_dir, optarg);
        return EXIT_OK;
    case OPT_GPU:
        o->gpu = true;
        return EXIT_OK;
    case OPT_KEEP:
        o->keep = true;
        return EXIT_OK;
    case OPT_RM:
        o->keep = false;
        return EXIT_OK;
    case 'd':
        o->detach = true;
        return EXIT_OK;
    case 'q':
        o->quiet = true;
        return EXIT_OK;
    case OPT_HOST_NETWORK:
        set_host_network(o);
        return EXIT_OK;
    case OPT_READ_ONLY:
        security(o)->readonly_rootfs = true;
        return EXIT_OK;
    case OPT_PRIVILEGED:
        sandbox_security(o)->privileged = true;
        security(o)->privileged = true;
        return EXIT_OK;
    case OPT_GPU_MEMORY:
        return set_gpu_memory(self, o, optarg);
    case OPT_GPU_WEIGHT: /* the runtime knows what is sensible */
        o->gpu = true;
        o->gpu_weight = optarg;
        return EXIT_OK;
    case OPT_GPU_CAP:
        o->gpu = true;
        o->gpu_cap = optarg;
        return EXIT_OK;
    case OPT_MOUNT:
        return add_mount(self, o, optarg);
    case OPT_PULL:
        return set_pull(self, o, optarg);
    case OPT_MEMORY:
    case OPT_CPUS:
        return set_limits(self, o, opt, optarg);
    case OPT_USER:
        return set_user(self, o, optarg);
    case 'e':
        return add_env(self, o, optarg);
    case 'l':
        return add_label(self, o, optarg);
    default:
        return -1;
    }
}

static void begin(struct run_options *o)
{
    *o = (struct run_options){.handler = "gpu-isolated"};
    if (gi_random_hex(o->uid, 16) < 0)
        abort();
    o->pod = build_new(&runtime__v1__pod_sandbox_config__descriptor);
    o->pod->metadata = build_new(&runtime__v1__pod_sandbox_metadata__descriptor);
    o->pod->linux = build_new(&runtime__v1__linux_pod_sandbox_config__descriptor);
    o->container = build_new(&runtime__v1__container_config__descriptor);
    o->container->metadata = build_new(&runtime__v1__container_metadata__descriptor);
    o->container->linux = build_new(&runtime__v1__linux_container_config__descriptor);
    o->container->image = build_new(&runtime__v1__image_spec__descriptor);
    build_set(&o->pod->metadata->uid, o->uid);
    build_set(&o->pod->metadata->namespace_, "default");
    /* A profile that nobody names means none in CRI: that isn't what a person wants. */
    security(o)->seccomp = build_new(&runtime__v1__security_profile__descriptor);
}

static void add_annotation(struct run_options *o, const char *key, const char *value)
{
    build_push_entry(&o->pod->annotations, &o->pod->n_annotations,
                     &runtime__v1__pod_sandbox_config__annotations_entry__descriptor, key, value);
}

/* What follows from all options together. */
static void complete(struct ctl *ctl, struct run_options *o, char **command)
{
    char text[4096];
    if (!*o->pod->metadata->name) {
        snprintf(text, sizeof(text), "run-%.8s", o->uid);
        build_set(&o->pod->metadata->name, text);
    }
    build_set(&o->container->metadata->name, o->pod->metadata->name);
    /* A pod on the host's network has the host's name. */
    if (!o->host_network)
        build_set(&o->pod->hostname, o->pod->metadata->name);
    snprintf(text, sizeof(text), "%s/%s", ctl->log_root, o->uid);
    build_set(&o->pod->log_directory, text);
    build_set(&o->container->log_path, "container.log");
    build_set(&o->container->image->image, o->image);
    for (; *command; command++)
        build_push_string(&o->container->args, &o->container->n_args, *command);
    if (o->gpu)
        add_annotation(o, "gpu-isolated.dev/gpu", "1");
    if (o->gpu_memory)
        add_annotation(o, "gpu-isolated.dev/gpu-memory", o->gpu_memory);
    if (o->gpu_weight)
        add_annotation(o, "gpu-isolated.dev/gpu-weight", o->gpu_weight);
    if (o->gpu_cap)
        add_annotation(o, "gpu-isolated.dev/gpu-cap", o->gpu_cap);
}

int run_options_parse(struct ctl *ctl, const struct command *self, int argc, char **argv,
                      struct run_options *o)
{
    int opt;
    begin(o);
    while ((opt = getopt_long(argc, argv, "+hdqe:l:w:", options, NULL)) != -1) {
        int rc = take_option(self, o, opt);
        if (rc != EXIT_OK)
            return (rc < 0 ? ctl_option(self, opt) : rc) + 1;
    }
    if (optind == argc)
        return ctl_usage_error(self, "which image?") + 1;
    if (ctl->log_root[0] != '/')
        return ctl_usage_error(self, "the log folder \"%s\" is no absolute path", ctl->log_root) +
               1;
    o->image = argv[optind++];
    /* "--" before the command is customary, not needed. */
    if (optind < argc && strcmp(argv[optind], "--") == 0)
        optind++;
    complete(ctl, o, argv + optind);
    return 0;
}

void run_options_free(struct run_options *o)
{
    ctl_free_message(o->pod ? &o->pod->base : NULL);
    ctl_free_message(o->container ? &o->container->base : NULL);
    *o = (struct run_options){0};
}
