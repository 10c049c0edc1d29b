/* A virtual libnvidia-ml.so.1: GPUs whose power curve is known, behind NVIDIA's own interface (nvml.h).
 *
 * Beside the library lies `virtual_nvml.conf`, lines of "key value" in integers: first the driver's, then for each GPU
 * a line "device <uuid>" and that GPU's. Power over time comes from a load file that may grow while it is read:
 * little-endian records of (int64 CLOCK_MONOTONIC ns, float64 watts), in order of time; from that moment the GPU draws
 * that power, and before the first record its idle power. The energy counter shows, in whole millijoules, the exact
 * integral from CLOCK_MONOTONIC zero to its last tick.
 *
 * What was set (power limits, locked clocks) lies in `virtual_nvml.state` beside it, one record a GPU, so that it is so
 * for every process and stays when the one that set it ends, as in a driver that is kept loaded.
 */
#define _GNU_SOURCE
#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include <nvml.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MAX_GPUS 16
#define MAX_INSTANCES 8
#define MAX_EVENTS 16
#define MAX_CLOCKS 64
#define POWER_SAMPLES 120
#define NS_PER_S 1000000000LL
#define NS_PER_US 1000LL

typedef struct { int64_t time_ns; double power_w; } record_t;

/* The load of one GPU: records read so far, and the joules drawn from the clock's zero to each of them. */
typedef struct {
    char path[4096];
    int descriptor;
    size_t count, room;
    record_t *records;
    double *energy_j;
} load_t;

typedef struct { int64_t period_ns, phase_ns, jitter_ns; } ticks_t;

/* Something that is so from one time to another: a process on the GPU, or a reason for lowered clocks. */
typedef struct { int64_t from_ns, to_ns; unsigned int pid, sm_percent; unsigned long long mask; char name[64]; } event_t;

struct nvmlDevice_st {
    struct nvmlDevice_st *parent; /* set for a MIG instance */
    unsigned int index;
    char uuid[NVML_DEVICE_UUID_V2_BUFFER_SIZE], name[NVML_DEVICE_NAME_V2_BUFFER_SIZE];
    load_t load;
    ticks_t counter, power;
    int64_t idle_mw, limit_mw, min_limit_mw, max_limit_mw, memory_bytes, architecture, gain_ppm;
    int64_t instant_window_ns, average_window_ns, usage_is_average;
    int64_t has_counter, has_fields, has_usage, module_scope_only, memory_ppm, denied, mig, latency_ns;
    int64_t lost_at_ns, reload_at_ns, unknown_from_ns, unknown_to_ns;
    struct nvmlDevice_st *instances[MAX_INSTANCES];
    unsigned int instance_count;
    event_t processes[MAX_EVENTS], reasons[MAX_EVENTS];
    unsigned int process_count, reason_count;
    int64_t core_clock_mhz, later_core_clock_mhz, idle_core_clock_mhz, clock_changes_at_ns, temperature_c;
    int64_t later_limit_mw, limit_changes_at_ns, has_conditions, has_samples;
    int64_t stuck_from_ns, stuck_to_ns, falls_at_ns, falls_by_mj, flaky_ppm, noise_mw;
    int64_t may_set, memory_clock_mhz;
    unsigned int clocks_mhz[MAX_CLOCKS], clock_count;
    unsigned int calls;
};

/* What was set of one GPU; 0 is what it was before. The clock is locked between the last two. */
typedef struct { int64_t limit_mw, least_clock_mhz, most_clock_mhz; } settings_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct nvmlDevice_st *gpus[MAX_GPUS];
static unsigned int gpu_count;
static unsigned int starts; /* nvmlInit calls not yet given back */
static int64_t init_delay_ns, driver_loaded = 1;
static int64_t wall_less_monotonic_ns;
static char state_path[4096];
static char driver_version[NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE] = "virtual";

/* ---- time ---- */

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static int64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

/* Short waits spin, as a driver call does; long ones sleep. */
static void wait_ns(int64_t duration_ns)
{
    int64_t end_ns = now_ns() + duration_ns;
    if (duration_ns >= 2000000) {
        struct timespec pause = {duration_ns / NS_PER_S, duration_ns % NS_PER_S};
        nanosleep(&pause, NULL);
    }
    while (now_ns() < end_ns) {}
}

/* A number that looks random and is the same for the same seed in every process (splitmix64). */
static uint64_t scattered(uint64_t seed)
{
    uint64_t z = seed + 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

static int64_t within(int64_t most, uint64_t seed)
{
    return most <= 0 ? 0 : (int64_t)(scattered(seed) % (uint64_t)(2 * most + 1)) - most;
}

/* A fixed offset in [-jitter, jitter] for each tick. */
static int64_t jitter_of(const ticks_t *ticks, int64_t tick) { return within(ticks->jitter_ns, (uint64_t)tick); }

static int64_t tick_time_ns(const ticks_t *ticks, int64_t tick)
{
    return ticks->phase_ns + tick * ticks->period_ns + jitter_of(ticks, tick);
}

/* The number of the last tick at or before a time; the jitter must be under half a period. */
static int64_t last_tick(const ticks_t *ticks, int64_t time_ns)
{
    int64_t tick = (time_ns - ticks->phase_ns) / ticks->period_ns + 1;
    while (tick_time_ns(ticks, tick) > time_ns) tick--;
    return tick;
}

/* ---- the load ---- */

static void keep_record(load_t *load, record_t record, double idle_w)
{
    if (load->count == load->room) {
        size_t room = load->room ? 2 * load->room : 1024;
        record_t *records = realloc(load->records, room * sizeof *records);
        double *energy_j = records ? realloc(load->energy_j, room * sizeof *energy_j) : NULL;
        if (records) load->records = records;
        if (!energy_j) return;
        load->energy_j = energy_j;
        load->room = room;
    }
    if (load->count == 0) {
        load->energy_j[0] = idle_w * (double)record.time_ns / (double)NS_PER_S;
    } else {
        const record_t *last = &load->records[load->count - 1];
        double span_s = (double)(record.time_ns - last->time_ns) / (double)NS_PER_S;
        load->energy_j[load->count] = load->energy_j[load->count - 1] + last->power_w * span_s;
    }
    load->records[load->count++] = record;
}

/* Reads the records that were appended since the last call; a record that is only half written waits. */
static void follow(struct nvmlDevice_st *gpu)
{
    load_t *load = &gpu->load;
    record_t chunk[256];
    ssize_t got;
    if (!load->path[0]) return;
    if (load->descriptor < 0) load->descriptor = open(load->path, O_RDONLY | O_CLOEXEC);
    if (load->descriptor < 0) return;
    do {
        off_t from = (off_t)(load->count * sizeof(record_t));
        size_t before = load->count;
        got = pread(load->descriptor, chunk, sizeof chunk, from);
        for (ssize_t i = 0; i < got / (ssize_t)sizeof(record_t); i++)
            keep_record(load, chunk[i], (double)gpu->idle_mw * 1e-3);
        if (load->count == before) return;
    } while (got == (ssize_t)sizeof chunk);
}

/* The last record at or before a time; -1 before the first. */
static ptrdiff_t record_at(const load_t *load, int64_t time_ns)
{
    size_t low = 0, high = load->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (load->records[middle].time_ns <= time_ns) low = middle + 1; else high = middle;
    }
    return (ptrdiff_t)low - 1;
}

static double power_w(const struct nvmlDevice_st *gpu, int64_t time_ns)
{
    ptrdiff_t at = record_at(&gpu->load, time_ns);
    double true_w = at < 0 ? (double)gpu->idle_mw * 1e-3 : gpu->load.records[at].power_w;
    return true_w * (1.0 + (double)gpu->gain_ppm * 1e-6);
}

static double energy_j(const struct nvmlDevice_st *gpu, int64_t time_ns)
{
    ptrdiff_t at = record_at(&gpu->load, time_ns);
    double true_j = (double)gpu->idle_mw * 1e-3 * (double)time_ns / (double)NS_PER_S;
    if (at >= 0) {
        const record_t *record = &gpu->load.records[at];
        true_j = gpu->load.energy_j[at] + record->power_w * (double)(time_ns - record->time_ns) / (double)NS_PER_S;
    }
    return true_j * (1.0 + (double)gpu->gain_ppm * 1e-6);
}

static unsigned long long counter_mj(const struct nvmlDevice_st *gpu, int64_t at_ns)
{
    if (at_ns >= gpu->stuck_from_ns && at_ns < gpu->stuck_to_ns) at_ns = gpu->stuck_from_ns;
    double shown_j = energy_j(gpu, tick_time_ns(&gpu->counter, last_tick(&gpu->counter, at_ns)));
    if (gpu->falls_at_ns && at_ns >= gpu->falls_at_ns) shown_j -= (double)gpu->falls_by_mj * 1e-3;
    if (gpu->reload_at_ns && at_ns >= gpu->reload_at_ns) shown_j -= energy_j(gpu, gpu->reload_at_ns);
    return shown_j > 0.0 ? (unsigned long long)(shown_j * 1e3) : 0;
}

static unsigned int mean_power_mw(const struct nvmlDevice_st *gpu, int64_t end_ns, int64_t window_ns)
{
    double mean_w = power_w(gpu, end_ns);
    if (window_ns > 0)
        mean_w = (energy_j(gpu, end_ns) - energy_j(gpu, end_ns - window_ns)) * (double)NS_PER_S / (double)window_ns;
    mean_w += (double)within(gpu->noise_mw, (uint64_t)end_ns) * 1e-3;
    return mean_w > 0.0 ? (unsigned int)(mean_w * 1e3 + 0.5) : 0;
}

/* ---- what was set ---- */

static settings_t settings_of(const struct nvmlDevice_st *gpu)
{
    settings_t found = {0, 0, 0};
    int file = open(state_path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return found;
    if (pread(file, &found, sizeof found, (off_t)(gpu->index * sizeof found)) != (ssize_t)sizeof found)
        memset(&found, 0, sizeof found);
    close(file);
    return found;
}

static nvmlReturn_t keep_settings(const struct nvmlDevice_st *gpu, settings_t settings)
{
    int file = open(state_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return NVML_ERROR_UNKNOWN;
    ssize_t put = pwrite(file, &settings, sizeof settings, (off_t)(gpu->index * sizeof settings));
    close(file);
    return put == (ssize_t)sizeof settings ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

/* ---- the configuration ---- */

static struct nvmlDevice_st *new_gpu(const char *uuid)
{
    struct nvmlDevice_st *gpu = calloc(1, sizeof *gpu);
    if (!gpu) return NULL;
    snprintf(gpu->uuid, sizeof gpu->uuid, "%s", uuid);
    gpu->load.descriptor = -1;
    gpu->counter.period_ns = gpu->power.period_ns = NS_PER_S / 10;
    gpu->has_counter = gpu->has_fields = gpu->has_usage = gpu->has_conditions = gpu->may_set = 1;
    return gpu;
}

/* "<from_ns> <to_ns> <pid> <sm_percent> <name>" */
static void add_process(struct nvmlDevice_st *gpu, const char *value)
{
    event_t event = {0};
    if (gpu->process_count < MAX_EVENTS &&
        sscanf(value, "%ld %ld %u %u %63s", &event.from_ns, &event.to_ns, &event.pid, &event.sm_percent, event.name) == 5)
        gpu->processes[gpu->process_count++] = event;
}

/* "<from_ns> <to_ns> <mask>" */
static void add_reason(struct nvmlDevice_st *gpu, const char *value)
{
    event_t event = {0};
    if (gpu->reason_count < MAX_EVENTS &&
        sscanf(value, "%ld %ld %llu", &event.from_ns, &event.to_ns, &event.mask) == 3)
        gpu->reasons[gpu->reason_count++] = event;
}

static void configure_gpu(struct nvmlDevice_st *gpu, const char *key, const char *value)
{
    const struct { const char *key; int64_t *field; } numbers[] = {
        {"counter_period_ns", &gpu->counter.period_ns}, {"counter_phase_ns", &gpu->counter.phase_ns},
        {"counter_jitter_ns", &gpu->counter.jitter_ns}, {"power_period_ns", &gpu->power.period_ns},
        {"power_phase_ns", &gpu->power.phase_ns}, {"power_jitter_ns", &gpu->power.jitter_ns},
        {"idle_mw", &gpu->idle_mw}, {"limit_mw", &gpu->limit_mw}, {"min_limit_mw", &gpu->min_limit_mw},
        {"max_limit_mw", &gpu->max_limit_mw}, {"memory_bytes", &gpu->memory_bytes},
        {"architecture", &gpu->architecture}, {"gain_ppm", &gpu->gain_ppm},
        {"instant_window_ns", &gpu->instant_window_ns}, {"average_window_ns", &gpu->average_window_ns},
        {"usage_is_average", &gpu->usage_is_average}, {"has_counter", &gpu->has_counter},
        {"has_fields", &gpu->has_fields}, {"has_usage", &gpu->has_usage},
        {"module_scope_only", &gpu->module_scope_only}, {"memory_ppm", &gpu->memory_ppm},
        {"denied", &gpu->denied}, {"mig", &gpu->mig},
        {"latency_ns", &gpu->latency_ns}, {"lost_at_ns", &gpu->lost_at_ns}, {"reload_at_ns", &gpu->reload_at_ns},
        {"unknown_from_ns", &gpu->unknown_from_ns}, {"unknown_to_ns", &gpu->unknown_to_ns},
        {"core_clock_mhz", &gpu->core_clock_mhz}, {"later_core_clock_mhz", &gpu->later_core_clock_mhz},
        {"idle_core_clock_mhz", &gpu->idle_core_clock_mhz}, {"clock_changes_at_ns", &gpu->clock_changes_at_ns},
        {"temperature_c", &gpu->temperature_c}, {"later_limit_mw", &gpu->later_limit_mw},
        {"limit_changes_at_ns", &gpu->limit_changes_at_ns}, {"has_conditions", &gpu->has_conditions},
        {"has_samples", &gpu->has_samples},
        {"stuck_from_ns", &gpu->stuck_from_ns}, {"stuck_to_ns", &gpu->stuck_to_ns}, {"noise_mw", &gpu->noise_mw},
        {"may_set", &gpu->may_set}, {"memory_clock_mhz", &gpu->memory_clock_mhz},
        {"falls_at_ns", &gpu->falls_at_ns}, {"falls_by_mj", &gpu->falls_by_mj}, {"flaky_ppm", &gpu->flaky_ppm},
    };
    if (strcmp(key, "process") == 0) add_process(gpu, value);
    if (strcmp(key, "reason") == 0) add_reason(gpu, value);
    if (strcmp(key, "clock_mhz") == 0 && gpu->clock_count < MAX_CLOCKS)
        gpu->clocks_mhz[gpu->clock_count++] = (unsigned int)strtoul(value, NULL, 10);
    if (strcmp(key, "name") == 0) snprintf(gpu->name, sizeof gpu->name, "%s", value);
    if (strcmp(key, "load") == 0) snprintf(gpu->load.path, sizeof gpu->load.path, "%s", value);
    if (strcmp(key, "instance") == 0 && gpu->instance_count < MAX_INSTANCES) {
        struct nvmlDevice_st *instance = new_gpu(value);
        if (instance) {
            instance->parent = gpu;
            gpu->instances[gpu->instance_count++] = instance;
        }
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strcmp(key, numbers[i].key) == 0) *numbers[i].field = strtoll(value, NULL, 10);
}

static void configure(const char *key, const char *value)
{
    if (strcmp(key, "device") == 0) {
        struct nvmlDevice_st *gpu = gpu_count < MAX_GPUS ? new_gpu(value) : NULL;
        if (!gpu) return;
        gpu->index = gpu_count;
        gpus[gpu_count++] = gpu;
    } else if (gpu_count > 0) {
        configure_gpu(gpus[gpu_count - 1], key, value);
    } else if (strcmp(key, "init_delay_ns") == 0) {
        init_delay_ns = strtoll(value, NULL, 10);
    } else if (strcmp(key, "driver_loaded") == 0) {
        driver_loaded = strtoll(value, NULL, 10);
    } else if (strcmp(key, "driver_version") == 0) {
        snprintf(driver_version, sizeof driver_version, "%s", value);
    }
}

static nvmlReturn_t read_configuration(void)
{
    Dl_info here;
    char path[4096], line[8192];
    if (!dladdr((void *)&gpu_count, &here) || !here.dli_fname) return NVML_ERROR_LIBRARY_NOT_FOUND;
    const char *slash = strrchr(here.dli_fname, '/');
    int folder = slash ? (int)(slash - here.dli_fname) + 1 : 0;
    snprintf(path, sizeof path, "%.*svirtual_nvml.conf", folder, here.dli_fname);
    snprintf(state_path, sizeof state_path, "%.*svirtual_nvml.state", folder, here.dli_fname);
    FILE *file = fopen(path, "re");
    if (!file) return NVML_ERROR_LIBRARY_NOT_FOUND;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *space = strchr(line, ' ');
        if (!space) continue;
        *space = '\0';
        configure(line, space + 1);
    }
    fclose(file);
    return NVML_SUCCESS;
}

/* ---- every call on a device starts and ends here ---- */

/* Takes the lock where the device can answer; then the caller answers and calls leave(). */
static nvmlReturn_t enter(nvmlDevice_t device, const void *answer, int64_t *at_ns)
{
    if (!starts) return NVML_ERROR_UNINITIALIZED;
    if (!device || !answer) return NVML_ERROR_INVALID_ARGUMENT;
    if (device->parent) return NVML_ERROR_NOT_SUPPORTED; /* an instance has no energy or limits of its own */
    wait_ns(device->latency_ns / 2);
    *at_ns = now_ns();
    if (device->lost_at_ns && *at_ns >= device->lost_at_ns) return NVML_ERROR_GPU_IS_LOST;
    if (*at_ns >= device->unknown_from_ns && *at_ns < device->unknown_to_ns) return NVML_ERROR_UNKNOWN;
    if ((int64_t)(scattered(device->calls++) % 1000000) < device->flaky_ppm) return NVML_ERROR_UNKNOWN;
    pthread_mutex_lock(&lock);
    follow(device);
    return NVML_SUCCESS;
}

static nvmlReturn_t leave(nvmlDevice_t device, nvmlReturn_t result)
{
    pthread_mutex_unlock(&lock);
    wait_ns(device->latency_ns - device->latency_ns / 2);
    return result;
}

static nvmlReturn_t copy_text(const char *text, char *to, unsigned int length)
{
    if (!to) return NVML_ERROR_INVALID_ARGUMENT;
    if (strlen(text) + 1 > length) return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(to, text);
    return NVML_SUCCESS;
}

static nvmlReturn_t energy_access(const struct nvmlDevice_st *gpu, int64_t supported)
{
    if (!supported) return NVML_ERROR_NOT_SUPPORTED;
    return gpu->denied ? NVML_ERROR_NO_PERMISSION : NVML_SUCCESS;
}

/* ---- the library ---- */

EXPORT nvmlReturn_t nvmlInitWithFlags(unsigned int flags)
{
    nvmlReturn_t result = NVML_SUCCESS;
    (void)flags;
    pthread_mutex_lock(&lock);
    if (!gpu_count) result = read_configuration();
    pthread_mutex_unlock(&lock);
    wait_ns(init_delay_ns);
    if (result == NVML_SUCCESS && !driver_loaded) result = NVML_ERROR_DRIVER_NOT_LOADED;
    if (result != NVML_SUCCESS) return result;
    pthread_mutex_lock(&lock);
    if (!starts++) wall_less_monotonic_ns = clock_ns(CLOCK_REALTIME) - now_ns();
    pthread_mutex_unlock(&lock);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

EXPORT nvmlReturn_t nvmlShutdown(void)
{
    nvmlReturn_t result = NVML_ERROR_UNINITIALIZED;
    pthread_mutex_lock(&lock);
    if (starts) {
        starts--;
        result = NVML_SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

EXPORT const char *nvmlErrorString(nvmlReturn_t result)
{
    switch (result) {
    case NVML_SUCCESS: return "Success";
    case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
    case NVML_ERROR_NO_PERMISSION: return "Insufficient Permissions";
    case NVML_ERROR_NOT_FOUND: return "Not Found";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case NVML_ERROR_GPU_IS_LOST: return "GPU is lost";
    default: return "Unknown Error";
    }
}

EXPORT nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
    return starts ? copy_text(driver_version, version, length) : NVML_ERROR_UNINITIALIZED;
}

/* ---- finding devices ---- */

EXPORT nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count)
{
    if (!starts) return NVML_ERROR_UNINITIALIZED;
    if (!count) return NVML_ERROR_INVALID_ARGUMENT;
    *count = gpu_count;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
    if (!starts) return NVML_ERROR_UNINITIALIZED;
    if (!device || index >= gpu_count) return NVML_ERROR_INVALID_ARGUMENT;
    *device = gpus[index];
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
    if (!starts) return NVML_ERROR_UNINITIALIZED;
    if (!uuid || !device) return NVML_ERROR_INVALID_ARGUMENT;
    for (unsigned int i = 0; i < gpu_count; i++) {
        struct nvmlDevice_st *found = strcmp(gpus[i]->uuid, uuid) == 0 ? gpus[i] : NULL;
        for (unsigned int j = 0; !found && j < gpus[i]->instance_count; j++)
            if (strcmp(gpus[i]->instances[j]->uuid, uuid) == 0) found = gpus[i]->instances[j];
        if (found) {
            *device = found;
            return NVML_SUCCESS;
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

EXPORT nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t instance, nvmlDevice_t *device)
{
    if (!starts) return NVML_ERROR_UNINITIALIZED;
    if (!instance || !device || !instance->parent) return NVML_ERROR_INVALID_ARGUMENT;
    *device = instance->parent;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length)
{
    if (!starts) return NVML_ERROR_UNINITIALIZED;
    return device ? copy_text(device->uuid, uuid, length) : NVML_ERROR_INVALID_ARGUMENT;
}

EXPORT nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length)
{
    if (!starts) return NVML_ERROR_UNINITIALIZED;
    return device ? copy_text(device->name, name, length) : NVML_ERROR_INVALID_ARGUMENT;
}

EXPORT nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int *index)
{
    if (!starts) return NVML_ERROR_UNINITIALIZED;
    if (!device || !index) return NVML_ERROR_INVALID_ARGUMENT;
    *index = device->index;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending)
{
    int64_t at_ns;
    nvmlReturn_t result = enter(device, current && pending ? current : NULL, &at_ns);
    if (result != NVML_SUCCESS) return result;
    *current = *pending = device->mig != 0;
    return leave(device, NVML_SUCCESS);
}

/* ---- energy and power ---- */

EXPORT nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *energy)
{
    int64_t at_ns;
    nvmlReturn_t result = enter(device, energy, &at_ns);
    if (result != NVML_SUCCESS) return result;
    result = energy_access(device, device->has_counter);
    if (result == NVML_SUCCESS) *energy = counter_mj(device, at_ns);
    return leave(device, result);
}

static unsigned int tick_power_mw(const struct nvmlDevice_st *gpu, int64_t at_ns, int average, int64_t *tick_ns)
{
    *tick_ns = tick_time_ns(&gpu->power, last_tick(&gpu->power, at_ns));
    return mean_power_mw(gpu, *tick_ns, average ? gpu->average_window_ns : gpu->instant_window_ns);
}

EXPORT nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int *power)
{
    int64_t at_ns, tick_ns;
    nvmlReturn_t result = enter(device, power, &at_ns);
    if (result != NVML_SUCCESS) return result;
    result = energy_access(device, device->has_usage);
    if (result == NVML_SUCCESS) *power = tick_power_mw(device, at_ns, device->usage_is_average != 0, &tick_ns);
    return leave(device, result);
}

static void answer_power(const struct nvmlDevice_st *gpu, int64_t at_ns, int average, nvmlFieldValue_t *field)
{
    int64_t tick_ns;
    unsigned int scope = gpu->module_scope_only ? NVML_POWER_SCOPE_MODULE : NVML_POWER_SCOPE_GPU;
    int of_memory = field->scopeId == NVML_POWER_SCOPE_MEMORY && gpu->memory_ppm > 0;
    field->nvmlReturn = energy_access(gpu, gpu->has_fields && (field->scopeId == scope || of_memory));
    if (field->nvmlReturn != NVML_SUCCESS) return;
    field->valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
    field->value.uiVal = tick_power_mw(gpu, at_ns, average, &tick_ns);
    if (of_memory) field->value.uiVal = (unsigned int)((int64_t)field->value.uiVal * gpu->memory_ppm / 1000000);
    field->timestamp = (tick_ns + wall_less_monotonic_ns) / NS_PER_US;
}

static void answer_energy(const struct nvmlDevice_st *gpu, int64_t at_ns, nvmlFieldValue_t *field)
{
    field->nvmlReturn = energy_access(gpu, gpu->has_counter && field->scopeId == NVML_POWER_SCOPE_GPU);
    if (field->nvmlReturn != NVML_SUCCESS) return;
    field->valueType = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
    field->value.ullVal = counter_mj(gpu, at_ns);
}

static int64_t limit_mw(const struct nvmlDevice_st *gpu, int64_t at_ns)
{
    settings_t set = settings_of(gpu);
    if (set.limit_mw) return set.limit_mw;
    return gpu->limit_changes_at_ns && at_ns >= gpu->limit_changes_at_ns ? gpu->later_limit_mw : gpu->limit_mw;
}

static void answer_limit(int64_t limit_mw, nvmlFieldValue_t *field)
{
    field->nvmlReturn = limit_mw > 0 ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
    field->valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
    field->value.uiVal = (unsigned int)limit_mw;
}

EXPORT nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *fields)
{
    int64_t at_ns;
    nvmlReturn_t result = enter(device, fields, &at_ns);
    if (result != NVML_SUCCESS) return result;
    for (int i = 0; i < count; i++) {
        nvmlFieldValue_t *field = &fields[i];
        field->timestamp = (at_ns + wall_less_monotonic_ns) / NS_PER_US;
        field->latencyUsec = 0;
        switch (field->fieldId) {
        case NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION:
        case NVML_FI_DEV_ENERGY: answer_energy(device, at_ns, field); break;
        case NVML_FI_DEV_POWER_INSTANT: answer_power(device, at_ns, 0, field); break;
        case NVML_FI_DEV_POWER_AVERAGE: answer_power(device, at_ns, 1, field); break;
        case NVML_FI_DEV_POWER_MIN_LIMIT: answer_limit(device->min_limit_mw, field); break;
        case NVML_FI_DEV_POWER_MAX_LIMIT: answer_limit(device->max_limit_mw, field); break;
        case NVML_FI_DEV_POWER_DEFAULT_LIMIT: answer_limit(device->limit_mw, field); break;
        case NVML_FI_DEV_POWER_CURRENT_LIMIT:
        case NVML_FI_DEV_POWER_REQUESTED_LIMIT: answer_limit(limit_mw(device, at_ns), field); break;
        default: field->nvmlReturn = NVML_ERROR_NOT_SUPPORTED;
        }
    }
    return leave(device, NVML_SUCCESS);
}

/* The driver's buffer: the last 120 power ticks that are newer than `last_seen_us`. */
EXPORT nvmlReturn_t nvmlDeviceGetSamples(nvmlDevice_t device, nvmlSamplingType_t type, unsigned long long last_seen_us,
                                         nvmlValueType_t *value_type, unsigned int *count, nvmlSample_t *samples)
{
    int64_t at_ns;
    nvmlReturn_t result = enter(device, value_type && count ? count : NULL, &at_ns);
    if (result != NVML_SUCCESS) return result;
    result = energy_access(device, device->has_samples && type == NVML_TOTAL_POWER_SAMPLES && !device->module_scope_only);
    if (result != NVML_SUCCESS) return leave(device, result);
    *value_type = NVML_VALUE_TYPE_UNSIGNED_INT;
    if (!samples) {
        *count = POWER_SAMPLES;
        return leave(device, NVML_SUCCESS);
    }
    int64_t last = last_tick(&device->power, at_ns);
    unsigned int room = *count, found = 0;
    for (int64_t tick = last - POWER_SAMPLES + 1; tick <= last && found < room; tick++) {
        int64_t time_ns = tick_time_ns(&device->power, tick);
        unsigned long long stamp_us = (unsigned long long)((time_ns + wall_less_monotonic_ns) / NS_PER_US);
        if (stamp_us <= last_seen_us) continue;
        samples[found].timeStamp = stamp_us;
        samples[found++].sampleValue.uiVal = mean_power_mw(device, time_ns, device->instant_window_ns);
    }
    *count = found;
    return leave(device, found ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND);
}

/* ---- limits and the rest ---- */

EXPORT nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t device, unsigned int *limit)
{
    int64_t at_ns;
    nvmlReturn_t result = enter(device, limit, &at_ns);
    if (result != NVML_SUCCESS) return result;
    *limit = (unsigned int)limit_mw(device, at_ns);
    return leave(device, *limit > 0 ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED);
}

EXPORT nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned int *limit)
{
    return nvmlDeviceGetPowerManagementLimit(device, limit);
}

EXPORT nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t device, unsigned int *least,
                                                                 unsigned int *most)
{
    int64_t at_ns;
    nvmlReturn_t result = enter(device, least && most ? least : NULL, &at_ns);
    if (result != NVML_SUCCESS) return result;
    *least = (unsigned int)device->min_limit_mw;
    *most = (unsigned int)device->max_limit_mw;
    return leave(device, device->max_limit_mw > 0 ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED);
}

EXPORT nvmlReturn_t nvmlDeviceGetPowerManagementDefaultLimit(nvmlDevice_t device, unsigned int *limit)
{
    int64_t at_ns;
    nvmlReturn_t result = enter(device, limit, &at_ns);
    if (result != NVML_SUCCESS) return result;
    *limit = (unsigned int)device->limit_mw;
    return leave(device, *limit > 0 ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED);
}

/* Setting takes the right to (root), and a limit that lies between the constraints. */
EXPORT nvmlReturn_t nvmlDeviceSetPowerManagementLimit(nvmlDevice_t device, unsigned int limit)
{
    int64_t at_ns;
    nvmlReturn_t result = enter(device, device, &at_ns);
    if (result != NVML_SUCCESS) return result;
    if (device->max_limit_mw <= 0) return leave(device, NVML_ERROR_NOT_SUPPORTED);
    if (!device->may_set) return leave(device, NVML_ERROR_NO_PERMISSION);
    if (limit < device->min_limit_mw || limit > device->max_limit_mw) return leave(device, NVML_ERROR_INVALID_ARGUMENT);
    settings_t set = settings_of(device);
    set.limit_mw = limit;
    return leave(device, keep_settings(device, set));
}

static nvmlReturn_t lock_clocks(nvmlDevice_t device, unsigned int least_mhz, unsigned int most_mhz)
{
    int64_t at_ns;
    nvmlReturn_t result = enter(device, device, &at_ns);
    if (result != NVML_SUCCESS) return result;
    if (!device->clock_count) return leave(device, NVML_ERROR_NOT_SUPPORTED);
    if (!device->may_set) return leave(device, NVML_ERROR_NO_PERMISSION);
    if (least_mhz > most_mhz) return leave(device, NVML_ERROR_INVALID_ARGUMENT);
    settings_t set = settings_of(device);
    set.least_clock_mhz = least_mhz;
    set.most_clock_mhz = most_mhz;
    return leave(device, keep_settings(device, set));
}

EXPORT nvmlReturn_t nvmlDeviceSetGpuLockedClocks(nvmlDevice_t device, unsigned int least_mhz, unsigned int most_mhz)
{
    return lock_clocks(device, least_mhz, most_mhz);
}

EXPORT nvmlReturn_t nvmlDeviceResetGpuLockedClocks(nvmlDevice_t device) { return lock_clocks(device, 0, 0); }

/* The sizes first, as nvml.h says: INSUFFICIENT_SIZE with the count where there is no room. */
static nvmlReturn_t give_clocks(const unsigned int *clocks_mhz, unsigned int found, unsigned int *count, unsigned int *to)
{
    unsigned int room = to ? *count : 0;
    *count = found;
    if (!found) return NVML_ERROR_NOT_SUPPORTED;
    if (room < found) return NVML_ERROR_INSUFFICIENT_SIZE;
    memcpy(to, clocks_mhz, found * sizeof *to);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetSupportedMemoryClocks(nvmlDevice_t device, unsigned int *count, unsigned int *clocks_mhz)
{
    int64_t at_ns;
    nvmlReturn_t result = enter(device, count, &at_ns);
    if (result != NVML_SUCCESS) return result;
    unsigned int memory_mhz = (unsigned int)device->memory_clock_mhz;
    return leave(device, give_clocks(&memory_mhz, device->clock_count && memory_mhz ? 1 : 0, count, clocks_mhz));
}

EXPORT nvmlReturn_t nvmlDeviceGetSupportedGraphicsClocks(nvmlDevice_t device, unsigned int memory_mhz,
                                                         unsigned int *count, unsigned int *clocks_mhz)
{
    int64_t at_ns;
    nvmlReturn_t result = enter(device, count, &at_ns);
    if (result != NVML_SUCCESS) return result;
    if (memory_mhz != (unsigned int)device->memory_clock_mhz) return leave(device, NVML_ERROR_NOT_FOUND);
    return leave(device, give_clocks(device->clocks_mhz, device->clock_count, count, clocks_mhz));
}

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    int64_t at_ns;
    nvmlReturn_t result = enter(device, memory, &at_ns);
    if (result != NVML_SUCCESS) return result;
    memory->total = memory->free = (unsigned long long)device->memory_bytes;
    memory->used = 0;
    return leave(device, NVML_SUCCESS);
}

EXPORT nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t device, nvmlDeviceArchitecture_t *architecture)
{
    int64_t at_ns;
    nvmlReturn_t result = enter(device, architecture, &at_ns);
    if (result != NVML_SUCCESS) return result;
    *architecture = (nvmlDeviceArchitecture_t)device->architecture;
    return leave(device, NVML_SUCCESS);
}

/* ---- the state of a device ---- */

static nvmlReturn_t enter_conditions(nvmlDevice_t device, const void *answer, int64_t *at_ns)
{
    nvmlReturn_t result = enter(device, answer, at_ns);
    if (result != NVML_SUCCESS || device->has_conditions) return result;
    return leave(device, NVML_ERROR_NOT_SUPPORTED);
}

static int is_busy(const struct nvmlDevice_st *gpu, int64_t at_ns)
{
    return power_w(gpu, at_ns) > (double)gpu->idle_mw * 1e-3 * (1.0 + (double)gpu->gain_ppm * 1e-6);
}

static int is_now(const event_t *event, int64_t at_ns) { return at_ns >= event->from_ns && at_ns < event->to_ns; }

EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates)
{
    int64_t at_ns;
    nvmlReturn_t result = enter_conditions(device, rates, &at_ns);
    if (result != NVML_SUCCESS) return result;
    rates->gpu = is_busy(device, at_ns) ? 100 : 0;
    rates->memory = 0;
    return leave(device, NVML_SUCCESS);
}

EXPORT nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, nvmlClockType_t type, unsigned int *clock_mhz)
{
    int64_t at_ns;
    nvmlReturn_t result = enter_conditions(device, clock_mhz, &at_ns);
    if (result != NVML_SUCCESS) return result;
    int64_t mhz = device->core_clock_mhz;
    if (device->clock_changes_at_ns && at_ns >= device->clock_changes_at_ns) mhz = device->later_core_clock_mhz;
    if (!is_busy(device, at_ns) && device->idle_core_clock_mhz) mhz = device->idle_core_clock_mhz;
    settings_t set = settings_of(device);
    if (set.most_clock_mhz && mhz > set.most_clock_mhz) mhz = set.most_clock_mhz;
    if (set.least_clock_mhz && mhz < set.least_clock_mhz) mhz = set.least_clock_mhz;
    *clock_mhz = (unsigned int)mhz;
    return leave(device, type == NVML_CLOCK_SM && mhz > 0 ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED);
}

EXPORT nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, nvmlTemperatureSensors_t sensor, unsigned int *celsius)
{
    int64_t at_ns;
    nvmlReturn_t result = enter_conditions(device, celsius, &at_ns);
    if (result != NVML_SUCCESS) return result;
    *celsius = (unsigned int)device->temperature_c;
    return leave(device, sensor == NVML_TEMPERATURE_GPU ? NVML_SUCCESS : NVML_ERROR_INVALID_ARGUMENT);
}

EXPORT nvmlReturn_t nvmlDeviceGetPerformanceState(nvmlDevice_t device, nvmlPstates_t *state)
{
    int64_t at_ns;
    nvmlReturn_t result = enter_conditions(device, state, &at_ns);
    if (result != NVML_SUCCESS) return result;
    *state = is_busy(device, at_ns) ? NVML_PSTATE_0 : NVML_PSTATE_8;
    return leave(device, NVML_SUCCESS);
}

EXPORT nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t device, nvmlEnableState_t *mode)
{
    int64_t at_ns;
    nvmlReturn_t result = enter_conditions(device, mode, &at_ns);
    if (result != NVML_SUCCESS) return result;
    *mode = NVML_FEATURE_ENABLED;
    return leave(device, NVML_SUCCESS);
}

EXPORT nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, unsigned long long *reasons)
{
    int64_t at_ns;
    nvmlReturn_t result = enter_conditions(device, reasons, &at_ns);
    if (result != NVML_SUCCESS) return result;
    *reasons = is_busy(device, at_ns) ? 0 : nvmlClocksThrottleReasonGpuIdle;
    if (limit_mw(device, at_ns) > 0 && power_w(device, at_ns) >= (double)limit_mw(device, at_ns) * 1e-3)
        *reasons |= nvmlClocksThrottleReasonSwPowerCap;
    for (unsigned int i = 0; i < device->reason_count; i++)
        if (is_now(&device->reasons[i], at_ns)) *reasons |= device->reasons[i].mask;
    return leave(device, NVML_SUCCESS);
}

EXPORT nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, unsigned long long *reasons)
{
    return nvmlDeviceGetCurrentClocksEventReasons(device, reasons);
}

EXPORT nvmlReturn_t nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int length)
{
    if (!starts) return NVML_ERROR_UNINITIALIZED;
    for (unsigned int i = 0; i < gpu_count; i++)
        for (unsigned int j = 0; j < gpus[i]->process_count; j++)
            if (gpus[i]->processes[j].pid == pid) return copy_text(gpus[i]->processes[j].name, name, length);
    return NVML_ERROR_NOT_FOUND;
}

EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count,
                                                            nvmlProcessInfo_t *processes)
{
    int64_t at_ns;
    nvmlReturn_t result = enter_conditions(device, count, &at_ns);
    if (result != NVML_SUCCESS) return result;
    unsigned int found = 0, room = processes ? *count : 0;
    for (unsigned int i = 0; i < device->process_count; i++) {
        if (!is_now(&device->processes[i], at_ns)) continue;
        if (found < room) {
            memset(&processes[found], 0, sizeof processes[found]);
            processes[found].pid = device->processes[i].pid;
            processes[found].usedGpuMemory = 1ULL << 30;
        }
        found++;
    }
    *count = found;
    return leave(device, found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS);
}

/* One sample of each process that computes, stamped with the last full sixth of a second. */
EXPORT nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device, nvmlProcessUtilizationSample_t *samples,
                                                    unsigned int *count, unsigned long long last_seen_us)
{
    int64_t at_ns;
    nvmlReturn_t result = enter_conditions(device, count, &at_ns);
    if (result != NVML_SUCCESS) return result;
    if (device->mig) return leave(device, NVML_ERROR_NOT_SUPPORTED);
    int64_t sampled_ns = at_ns - at_ns % (NS_PER_S / 6);
    unsigned long long stamp_us = (unsigned long long)((sampled_ns + wall_less_monotonic_ns) / NS_PER_US);
    unsigned int found = 0, room = samples ? *count : 0;
    for (unsigned int i = 0; i < device->process_count && stamp_us > last_seen_us; i++) {
        const event_t *process = &device->processes[i];
        if (!is_now(process, sampled_ns) || !process->sm_percent) continue;
        if (found < room) {
            memset(&samples[found], 0, sizeof samples[found]);
            samples[found].pid = process->pid;
            samples[found].timeStamp = stamp_us;
            samples[found].smUtil = process->sm_percent;
        }
        found++;
    }
    *count = found;
    if (!found) return leave(device, NVML_ERROR_NOT_FOUND);
    return leave(device, found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS);
}
