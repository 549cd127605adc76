#include "tests/simulation/simulated_disk.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "state/model/invariant.h"

namespace sluice::simulation {
namespace {

constexpr std::uint64_t kSector = 512;
constexpr std::uint64_t kChunk = 64 * 1024;
constexpr std::uint64_t kEndless = 1ull << 40;
static_assert(kChunk % kSector == 0);

// SplitMix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
class Random {
 public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() {
        state_ += 0x9e3779b97f4a7c15;
        std::uint64_t z = state_;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    std::uint64_t below(std::uint64_t bound) { return next() % bound; }
    bool coin() { return (next() & 1) != 0; }

 private:
    std::uint64_t state_;
};

struct Account {
    std::uint64_t used = 0;
};

// The bytes of a file: appended to, hardly ever anything else. Chunks are shared with images made
// at crashes and copied when one of them is written to.
class Bytes {
 public:
    std::uint64_t size() const { return size_; }
    void append(std::string_view bytes) {
        while (!bytes.empty()) {
            const std::uint64_t at = size_ % kChunk;
            if (at == 0) {
                chunks_.push_back(std::make_shared<std::string>());
            }
            std::string& chunk = own(chunks_.size() - 1);
            const auto take =
                static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), kChunk - at));
            chunk.append(bytes.substr(0, take));
            size_ += take;
            bytes.remove_prefix(take);
        }
    }
    void resize(std::uint64_t size) {
        if (size > size_) {
            append(std::string(static_cast<std::size_t>(size - size_), '\0'));
            return;
        }
        chunks_.resize(static_cast<std::size_t>((size + kChunk - 1) / kChunk));
        if (size % kChunk != 0) {
            own(chunks_.size() - 1).resize(static_cast<std::size_t>(size % kChunk));
        }
        size_ = size;
    }
    void zero(std::uint64_t from, std::uint64_t to) {  // within one chunk
        std::string& chunk = own(static_cast<std::size_t>(from / kChunk));
        std::memset(chunk.data() + from % kChunk, 0, static_cast<std::size_t>(to - from));
    }
    void flip(std::uint64_t at, std::uint8_t bits) {
        char& byte =
            own(static_cast<std::size_t>(at / kChunk))[static_cast<std::size_t>(at % kChunk)];
        byte = static_cast<char>(static_cast<std::uint8_t>(byte) ^ bits);
    }
    std::size_t read(std::uint64_t offset, std::size_t length, std::uint64_t end, char* to) const {
        std::size_t done = 0;
        end = std::min(end, size_);
        while (done < length && offset < end) {
            const std::string& chunk = *chunks_[static_cast<std::size_t>(offset / kChunk)];
            const auto take = static_cast<std::size_t>(
                std::min<std::uint64_t>({length - done, kChunk - offset % kChunk, end - offset}));
            std::memcpy(to + done, chunk.data() + offset % kChunk, take);
            done += take;
            offset += take;
        }
        return done;
    }

 private:
    std::string& own(std::size_t chunk) {
        if (chunks_[chunk].use_count() > 1) {
            chunks_[chunk] = std::make_shared<std::string>(*chunks_[chunk]);
        }
        return *chunks_[chunk];
    }
    std::vector<std::shared_ptr<std::string>> chunks_;
    std::uint64_t size_ = 0;
};

struct File {
    explicit File(std::shared_ptr<Account> a) : account(std::move(a)) {}
    ~File() { account->used -= bytes.size(); }
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    std::shared_ptr<Account> account;
    std::uint64_t number = 0;
    std::uint32_t links = 0;
    Bytes bytes;                // synced <= flushed <= bytes.size()
    std::uint64_t flushed = 0;  // with the kernel: what readers see
    std::uint64_t synced = 0;   // survives a power cut
    bool poisoned = false;      // a sync failed: later ones only claim success
};

struct Directory;

struct Entry {
    std::shared_ptr<File> file;
    std::shared_ptr<Directory> directory;
    explicit operator bool() const { return file != nullptr || directory != nullptr; }
};

// Both halves of a rename. The new name never goes lost once the old one is gone.
struct Rename {
    bool kept = false;     // certain
    bool decided = false;  // during one crash
    bool outcome = false;
};

struct Change {
    std::string name;
    Entry after;  // empty: removed
    std::uint64_t sequence = 0;
    std::shared_ptr<Rename> rename;
    bool leaves_directory = false;  // the old half of a rename into another directory
};

struct Directory {
    std::uint64_t number = 0;
    std::map<std::string, Entry> names;
    std::map<std::string, Entry> durable;
    std::vector<Change> changes;  // between the two, in order
};

void carry_out(const Change& change, std::map<std::string, Entry>& names) {
    if (change.after) {
        names[change.name] = change.after;
    } else {
        names.erase(change.name);
    }
}

// Makes what the next life finds out of the tree at the instant of the crash.
class Survivor {
 public:
    Survivor(CrashKind kind, Random& random, std::uint64_t sequence,
             std::shared_ptr<Account> account)
        : kind_(kind), random_(random), account_(std::move(account)) {
        mode_ = static_cast<Names>(random_.below(4));
        cut_ = random_.below(sequence + 1);
    }

    std::shared_ptr<Directory> directory(const std::shared_ptr<Directory>& from) {
        if (const auto known = directories_.find(from.get()); known != directories_.end()) {
            return known->second;
        }
        auto to = std::make_shared<Directory>();
        directories_[from.get()] = to;
        to->number = from->number;
        if (kind_ == CrashKind::process) {
            for (const auto& [name, entry] : from->names) {
                to->names[name] = named(entry);
            }
            for (const auto& [name, entry] : from->durable) {
                to->durable[name] = copy(entry);
            }
            for (const Change& change : from->changes) {
                to->changes.push_back(change);
                to->changes.back().after = copy(change.after);
                if (change.rename != nullptr) {
                    auto& rename = renames_[change.rename.get()];
                    if (rename == nullptr) {
                        rename = std::make_shared<Rename>(*change.rename);
                    }
                    to->changes.back().rename = rename;
                }
            }
            return to;
        }
        std::map<std::string, Entry> names = from->durable;
        for (const Change& change : from->changes) {
            if (survives(change)) {
                carry_out(change, names);
            }
        }
        for (const auto& [name, entry] : names) {
            to->names[name] = named(entry);
        }
        to->durable = to->names;
        return to;
    }

 private:
    enum class Names { none, all, prefix, subset };

    Entry copy(const Entry& entry) {
        Entry to;
        if (entry.file != nullptr) {
            to.file = file(entry.file);
        } else if (entry.directory != nullptr) {
            to.directory = directory(entry.directory);
        }
        return to;
    }
    Entry named(const Entry& entry) {
        Entry to = copy(entry);
        if (to.file != nullptr) {
            ++to.file->links;
        }
        return to;
    }

    bool decide(std::uint64_t sequence) {
        switch (mode_) {
            case Names::none:
                return false;
            case Names::all:
                return true;
            case Names::prefix:
                return sequence <= cut_;
            case Names::subset:
                break;
        }
        return random_.coin();
    }

    bool survives(const Change& change) {
        if (change.rename == nullptr) {
            return decide(change.sequence);
        }
        Rename& rename = *change.rename;
        if (!rename.decided) {
            rename.decided = true;
            rename.outcome = rename.kept || decide(change.sequence);
        }
        return rename.outcome && (!change.leaves_directory || decide(change.sequence));
    }

    std::shared_ptr<File> file(const std::shared_ptr<File>& from) {
        if (const auto known = files_.find(from.get()); known != files_.end()) {
            return known->second;
        }
        auto to = std::make_shared<File>(account_);
        files_[from.get()] = to;
        to->number = from->number;
        to->bytes = from->bytes;
        if (kind_ == CrashKind::process) {
            to->bytes.resize(from->flushed + random_.below(from->bytes.size() - from->flushed + 1));
            to->synced = from->synced;
            to->poisoned = from->poisoned;
        } else {
            tear(to->bytes, from->synced);
            to->synced = to->bytes.size();
        }
        to->flushed = to->bytes.size();
        account_->used += to->bytes.size();
        return to;
    }

    void tear(Bytes& bytes, std::uint64_t synced) {
        const std::uint64_t unsynced = bytes.size() - synced;
        if (unsynced == 0) {
            return;
        }
        const std::uint64_t how = random_.below(4);
        if (how == 0) {  // nothing of it
            bytes.resize(synced);
            return;
        }
        if (how == 1) {  // all of it
            return;
        }
        if (how == 2) {  // a shorter file
            bytes.resize(synced + random_.below(unsynced + 1));
        }
        // Any subset of sectors. Where the last synced bytes end inside a sector, they are safe: a
        // sector is written whole or not at all.
        for (std::uint64_t at = synced; at < bytes.size();) {
            const std::uint64_t end = std::min((at / kSector + 1) * kSector, bytes.size());
            if (random_.coin()) {
                bytes.zero(at, end);
            }
            at = end;
        }
    }

    CrashKind kind_;
    Random& random_;
    std::shared_ptr<Account> account_;
    Names mode_ = Names::none;
    std::uint64_t cut_ = 0;
    std::map<const File*, std::shared_ptr<File>> files_;
    std::map<const Directory*, std::shared_ptr<Directory>> directories_;
    std::map<const Rename*, std::shared_ptr<Rename>> renames_;
};

}  // namespace

struct SimulatedDisk::World {
    explicit World(std::uint64_t seed) : random(seed) {}

    // Guards all below; taken by every public call.
    std::mutex mutex;
    Random random;
    std::shared_ptr<Account> account = std::make_shared<Account>();
    std::shared_ptr<Directory> root = std::make_shared<Directory>();
    std::uint64_t next_number = 1;
    std::uint64_t sequence = 0;
    std::uint64_t operations = 0;
    std::uint64_t crash_operation = 0;
    CrashKind crash_kind = CrashKind::power;
    std::set<std::uint64_t> failures;
    std::optional<std::uint64_t> budget;
    std::shared_ptr<Directory> image;  // set: crashed; never changed again
    std::shared_ptr<Account> image_account;
    std::uint64_t image_number = 0;
    std::uint64_t image_sequence = 0;
    state::DiskStatistics statistics;

    void crash(CrashKind kind) {
        image_account = std::make_shared<Account>();
        image = Survivor(kind, random, sequence, image_account).directory(root);
        image_number = next_number;
        image_sequence = sequence;
    }

    struct Place {
        std::shared_ptr<Directory> parent;
        std::string name;  // empty: the root itself
    };

    static std::vector<std::string> parts(const std::string& path) {
        std::vector<std::string> out;
        std::size_t at = 0;
        while (at <= path.size()) {
            const std::size_t slash = std::min(path.find('/', at), path.size());
            std::string part = path.substr(at, slash - at);
            if (!part.empty() && part != ".") {
                out.push_back(std::move(part));
            }
            at = slash + 1;
        }
        return out;
    }
    model::Result<Place> place(const std::string& path) const {
        std::vector<std::string> names = parts(path);
        Place at{root, {}};
        for (std::size_t i = 0; i + 1 < names.size(); ++i) {
            const auto next = at.parent->names.find(names[i]);
            if (next == at.parent->names.end() || next->second.directory == nullptr) {
                return model::invalid(path + ": no such directory: " + names[i]);
            }
            at.parent = next->second.directory;
        }
        if (!names.empty()) {
            at.name = std::move(names.back());
        }
        return at;
    }
    Entry entry(const Place& at) const {
        if (at.name.empty()) {
            return Entry{nullptr, at.parent};
        }
        const auto found = at.parent->names.find(at.name);
        return found == at.parent->names.end() ? Entry{} : found->second;
    }
    model::Result<Entry> find(const std::string& path) const {
        TRY(at, place(path));
        Entry found = entry(at);
        if (!found) {
            return model::invalid(path + ": no such file or directory");
        }
        return found;
    }
    // Names `after` there, or nothing if it is empty.
    void change(const Place& at, Entry after, std::shared_ptr<Rename> rename = nullptr,
                bool leaves_directory = false) {
        if (const Entry before = entry(at); before.file != nullptr) {
            --before.file->links;
        }
        if (after.file != nullptr) {
            ++after.file->links;
        }
        Change step{at.name, std::move(after), ++sequence, std::move(rename), leaves_directory};
        carry_out(step, at.parent->names);
        at.parent->changes.push_back(std::move(step));
    }
    // The bytes that still fit.
    std::uint64_t room() const {
        const std::uint64_t limit = image == nullptr ? budget.value_or(kEndless) : kEndless;
        return limit > account->used ? limit - account->used : 0;
    }
};

namespace {

using World = SimulatedDisk::World;

// One operation: counts it and lets it fail or be the last.
class Turn {
 public:
    explicit Turn(World& world) : world_(world) {
        const std::uint64_t number = ++world.operations;
        if (world.image != nullptr) {
            return;
        }
        fails_ = world.failures.contains(number);
        if (number == world.crash_operation) {
            if (world.random.coin()) {
                crashes_after_ = true;
            } else {
                world.crash(world.crash_kind);
            }
        }
    }
    ~Turn() {
        if (crashes_after_) {
            world_.crash(world_.crash_kind);
        }
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    bool fails() const { return fails_; }
    model::Status error(const std::string& path) const {
        ++world_.statistics.errors;
        return model::unavailable(path + ": I/O error (operation " +
                                  std::to_string(world_.operations) + ")");
    }

 private:
    World& world_;
    bool fails_ = false;
    bool crashes_after_ = false;
};

class SimulatedWriter final : public state::WritableFile {
 public:
    SimulatedWriter(std::shared_ptr<World> world, std::shared_ptr<File> file, std::string path)
        : world_(std::move(world)), file_(std::move(file)), path_(std::move(path)) {}
    ~SimulatedWriter() override {
        const std::lock_guard guard(world_->mutex);
        if (dead_.empty()) {
            file_->flushed = file_->bytes.size();
        }
        file_.reset();
    }

    model::Status append(std::string_view bytes) override {
        const std::lock_guard guard(world_->mutex);
        if (!dead_.empty()) {
            return model::unavailable(dead_);
        }
        const Turn turn(*world_);
        if (turn.fails()) {
            return die(turn.error(path_));
        }
        const auto fits =
            static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), world_->room()));
        file_->bytes.append(bytes.substr(0, fits));
        file_->account->used += fits;
        world_->statistics.written_bytes += fits;
        // A real writer hands over full buffers by itself; readers may see those bytes early.
        if (file_->bytes.size() - file_->flushed > kChunk) {
            file_->flushed = file_->bytes.size();
        }
        if (fits < bytes.size()) {
            ++world_->statistics.errors;
            return die(model::exhausted(path_ + ": no space left on the disk"));
        }
        return {};
    }
    model::Status flush() override {
        const std::lock_guard guard(world_->mutex);
        if (!dead_.empty()) {
            return model::unavailable(dead_);
        }
        const Turn turn(*world_);
        if (turn.fails()) {
            return die(turn.error(path_));
        }
        file_->flushed = file_->bytes.size();
        return {};
    }
    model::Status sync() override {
        const std::lock_guard guard(world_->mutex);
        if (!dead_.empty()) {
            return model::unavailable(dead_);
        }
        const Turn turn(*world_);
        ++world_->statistics.syncs;
        if (turn.fails()) {
            file_->poisoned = file_->synced < file_->bytes.size();
            return die(turn.error(path_));
        }
        file_->flushed = file_->bytes.size();
        if (!file_->poisoned) {
            file_->synced = file_->bytes.size();
        }
        return {};
    }
    std::uint64_t size() const override {
        const std::lock_guard guard(world_->mutex);
        return file_->bytes.size();
    }

 private:
    model::Status die(model::Status status) {
        dead_ = path_ + ": failed before: " + status.error().text;
        return status;
    }

    std::shared_ptr<World> world_;
    std::shared_ptr<File> file_;
    std::string path_;
    std::string dead_;
};

class SimulatedReader final : public state::ReadableFile {
 public:
    SimulatedReader(std::shared_ptr<World> world, std::shared_ptr<File> file)
        : world_(std::move(world)), file_(std::move(file)) {}
    ~SimulatedReader() override {
        const std::lock_guard guard(world_->mutex);
        file_.reset();
    }
    model::Result<std::size_t> read(std::uint64_t offset, std::size_t bytes,
                                    char* to) const override {
        const std::lock_guard guard(world_->mutex);
        const std::size_t got = file_->bytes.read(offset, bytes, file_->flushed, to);
        world_->statistics.read_bytes += got;
        return got;
    }
    std::uint64_t size() const override {
        const std::lock_guard guard(world_->mutex);
        return file_->flushed;
    }

 private:
    std::shared_ptr<World> world_;
    std::shared_ptr<File> file_;
};

}  // namespace

SimulatedDisk::SimulatedDisk(std::uint64_t seed) : world_(std::make_shared<World>(seed)) {}
SimulatedDisk::SimulatedDisk(std::shared_ptr<World> world) : world_(std::move(world)) {}
SimulatedDisk::~SimulatedDisk() = default;

std::uint64_t SimulatedDisk::operations() const {
    const std::lock_guard guard(world_->mutex);
    return world_->operations;
}

void SimulatedDisk::crash_at(std::uint64_t operation, CrashKind kind) {
    const std::lock_guard guard(world_->mutex);
    world_->crash_operation = operation;
    world_->crash_kind = kind;
}

void SimulatedDisk::crash_now(CrashKind kind) {
    const std::lock_guard guard(world_->mutex);
    if (world_->image == nullptr) {
        world_->crash(kind);
    }
}

bool SimulatedDisk::crashed() const {
    const std::lock_guard guard(world_->mutex);
    return world_->image != nullptr;
}

std::unique_ptr<SimulatedDisk> SimulatedDisk::after_crash(std::uint64_t seed) const {
    const std::lock_guard guard(world_->mutex);
    INVARIANT(world_->image != nullptr, "a disk has a next life after its crash");
    auto next = std::make_shared<World>(seed);
    // A process crash of an image at rest copies it as it is.
    Random unused(0);
    next->root = Survivor(CrashKind::process, unused, 0, next->account).directory(world_->image);
    next->next_number = world_->image_number;
    next->sequence = world_->image_sequence;
    next->budget = world_->budget;
    return std::make_unique<SimulatedDisk>(std::move(next));
}

void SimulatedDisk::fail_at(std::uint64_t operation) {
    const std::lock_guard guard(world_->mutex);
    world_->failures.insert(operation);
}

void SimulatedDisk::set_budget(std::optional<std::uint64_t> bytes) {
    const std::lock_guard guard(world_->mutex);
    world_->budget = bytes;
}

std::uint64_t SimulatedDisk::used_bytes() const {
    const std::lock_guard guard(world_->mutex);
    return world_->account->used;
}

model::Status SimulatedDisk::flip(const std::string& path, std::uint64_t offset,
                                  std::uint8_t bits) {
    const std::lock_guard guard(world_->mutex);
    TRY(found, world_->find(path));
    if (found.file == nullptr || offset >= found.file->bytes.size()) {
        return model::invalid(path + ": no such byte");
    }
    found.file->bytes.flip(offset, bits);
    return {};
}

model::Result<std::unique_ptr<state::WritableFile>> SimulatedDisk::create(const std::string& path) {
    const std::lock_guard guard(world_->mutex);
    const Turn turn(*world_);
    if (turn.fails()) {
        return std::unexpected(turn.error(path).error());
    }
    TRY(at, world_->place(path));
    if (at.name.empty() || world_->entry(at)) {
        return model::invalid(path + ": exists already");
    }
    auto file = std::make_shared<File>(world_->account);
    file->number = world_->next_number++;
    world_->change(at, Entry{file, nullptr});
    return std::make_unique<SimulatedWriter>(world_, std::move(file), path);
}

model::Result<std::unique_ptr<state::WritableFile>> SimulatedDisk::append_to(
    const std::string& path) {
    const std::lock_guard guard(world_->mutex);
    TRY(found, world_->find(path));
    if (found.file == nullptr) {
        return model::invalid(path + ": is a directory");
    }
    return std::make_unique<SimulatedWriter>(world_, std::move(found.file), path);
}

model::Result<std::unique_ptr<state::ReadableFile>> SimulatedDisk::open(const std::string& path) {
    const std::lock_guard guard(world_->mutex);
    TRY(found, world_->find(path));
    if (found.file == nullptr) {
        return model::invalid(path + ": is a directory");
    }
    return std::make_unique<SimulatedReader>(world_, std::move(found.file));
}

model::Status SimulatedDisk::make_directory(const std::string& path) {
    const std::lock_guard guard(world_->mutex);
    const Turn turn(*world_);
    if (turn.fails()) {
        return turn.error(path);
    }
    TRY(at, world_->place(path));
    if (const Entry there = world_->entry(at)) {
        return there.directory != nullptr ? model::Status{} : model::invalid(path + ": is a file");
    }
    auto directory = std::make_shared<Directory>();
    directory->number = world_->next_number++;
    world_->change(at, Entry{nullptr, std::move(directory)});
    return {};
}

model::Status SimulatedDisk::rename(const std::string& from, const std::string& to) {
    const std::lock_guard guard(world_->mutex);
    const Turn turn(*world_);
    if (turn.fails()) {
        return turn.error(from);
    }
    TRY(source, world_->place(from));
    TRY(target, world_->place(to));
    Entry moved = world_->entry(source);
    if (!moved || source.name.empty() || target.name.empty()) {
        return model::invalid(from + ": no such file or directory");
    }
    const Entry there = world_->entry(target);
    if (there.file != nullptr && there.file == moved.file) {
        return {};  // two names of one file: POSIX does nothing
    }
    if ((there.directory != nullptr && !there.directory->names.empty()) ||
        (there && (there.directory != nullptr) != (moved.directory != nullptr))) {
        return model::invalid(to + ": is in the way");
    }
    const auto rename = std::make_shared<Rename>();
    world_->change(target, moved, rename);
    world_->change(source, {}, rename, source.parent != target.parent);
    return {};
}

model::Status SimulatedDisk::link(const std::string& from, const std::string& to) {
    const std::lock_guard guard(world_->mutex);
    const Turn turn(*world_);
    if (turn.fails()) {
        return turn.error(from);
    }
    TRY(linked, world_->find(from));
    TRY(target, world_->place(to));
    if (linked.file == nullptr || target.name.empty() || world_->entry(target)) {
        return model::invalid(to + ": exists already, or " + from + " is a directory");
    }
    world_->change(target, std::move(linked));
    return {};
}

model::Status SimulatedDisk::remove(const std::string& path) {
    const std::lock_guard guard(world_->mutex);
    const Turn turn(*world_);
    if (turn.fails()) {
        return turn.error(path);
    }
    const auto at = world_->place(path);
    if (!at) {
        return {};
    }
    const Entry there = world_->entry(*at);
    if (!there) {
        return {};
    }
    if (at->name.empty() || (there.directory != nullptr && !there.directory->names.empty())) {
        return model::invalid(path + ": is a directory that is not empty");
    }
    world_->change(*at, {});
    return {};
}

model::Status SimulatedDisk::truncate(const std::string& path, std::uint64_t size) {
    const std::lock_guard guard(world_->mutex);
    const Turn turn(*world_);
    if (turn.fails()) {
        return turn.error(path);
    }
    TRY(found, world_->find(path));
    if (found.file == nullptr) {
        return model::invalid(path + ": is a directory");
    }
    File& file = *found.file;
    file.account->used -= file.bytes.size();
    file.bytes.resize(size);
    file.account->used += size;
    file.flushed = size;
    file.synced = file.poisoned ? std::min(file.synced, size) : size;
    return {};
}

model::Status SimulatedDisk::sync_file(const std::string& path) {
    TRY(file, append_to(path));
    return file->sync();
}

model::Status SimulatedDisk::sync_directory(const std::string& path) {
    const std::lock_guard guard(world_->mutex);
    const Turn turn(*world_);
    ++world_->statistics.syncs;
    if (turn.fails()) {
        return turn.error(path);
    }
    TRY(found, world_->find(path));
    if (found.directory == nullptr) {
        return model::invalid(path + ": is not a directory");
    }
    for (const Change& change : found.directory->changes) {
        carry_out(change, found.directory->durable);
        if (change.rename != nullptr) {
            change.rename->kept = true;
        }
    }
    found.directory->changes.clear();
    return {};
}

model::Result<std::vector<std::string>> SimulatedDisk::list(const std::string& path) {
    const std::lock_guard guard(world_->mutex);
    TRY(found, world_->find(path));
    if (found.directory == nullptr) {
        return model::invalid(path + ": is not a directory");
    }
    std::vector<std::string> names;
    for (const auto& [name, entry] : found.directory->names) {
        names.push_back(name);
    }
    return names;
}

model::Result<state::FileFacts> SimulatedDisk::info(const std::string& path) {
    const std::lock_guard guard(world_->mutex);
    TRY(found, world_->find(path));
    state::FileFacts info;
    if (found.directory != nullptr) {
        info.directory = true;
        info.inode = found.directory->number;
    } else {
        info.size = found.file->flushed;
        info.inode = found.file->number;
        info.links = found.file->links;
    }
    return info;
}

model::Result<state::DiskSpace> SimulatedDisk::space(const std::string& path) {
    const std::lock_guard guard(world_->mutex);
    TRY(found, world_->find(path));
    return state::DiskSpace{world_->room(), world_->budget.value_or(kEndless)};
}

state::DiskStatistics SimulatedDisk::statistics() const {
    const std::lock_guard guard(world_->mutex);
    state::DiskStatistics statistics = world_->statistics;
    statistics.submitted = statistics.completed = world_->operations;
    return statistics;
}

}  // namespace sluice::simulation
