#include "ingest/dead_letter.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "state/model/fail_point.h"

namespace sluice::ingest {

namespace {

void append_base64(std::string& out, std::string_view bytes) {
    static constexpr char kDigits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::size_t i = 0;
    const auto byte = [&bytes](std::size_t at) -> std::uint32_t {
        return at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0;
    };
    for (; i < bytes.size(); i += 3) {
        const std::uint32_t three = (byte(i) << 16) | (byte(i + 1) << 8) | byte(i + 2);
        out.push_back(kDigits[three >> 18]);
        out.push_back(kDigits[(three >> 12) & 63]);
        out.push_back(i + 1 < bytes.size() ? kDigits[(three >> 6) & 63] : '=');
        out.push_back(i + 2 < bytes.size() ? kDigits[three & 63] : '=');
    }
}

bool continues(std::string_view text, std::size_t at) {
    return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;
}

// The length of the UTF-8 character at `at`, 0 if there is none.
std::size_t utf8_length(std::string_view text, std::size_t at) {
    const auto c = static_cast<unsigned char>(text[at]);
    const auto second = [&text, at] { return static_cast<unsigned char>(text[at + 1]); };
    if (c < 0x80) {
        return 1;
    }
    if (c >= 0xC2 && c <= 0xDF) {
        return continues(text, at + 1) ? 2 : 0;
    }
    if (c >= 0xE0 && c <= 0xEF) {
        if (!continues(text, at + 1) || !continues(text, at + 2) ||
            (c == 0xE0 && second() < 0xA0) || (c == 0xED && second() > 0x9F)) {
            return 0;
        }
        return 3;
    }
    if (c >= 0xF0 && c <= 0xF4) {
        if (!continues(text, at + 1) || !continues(text, at + 2) || !continues(text, at + 3) ||
            (c == 0xF0 && second() < 0x90) || (c == 0xF4 && second() > 0x8F)) {
            return 0;
        }
        return 4;
    }
    return 0;
}

// A JSON string. What is no UTF-8 becomes U+FFFD: only header names can hold it.
void append_json_text(std::string& out, std::string_view text) {
    static constexpr char kHex[] = "0123456789abcdef";
    out.push_back('"');
    for (std::size_t i = 0; i < text.size();) {
        const auto c = static_cast<unsigned char>(text[i]);
        const std::size_t length = utf8_length(text, i);
        if (length == 0) {
            out += "\xEF\xBF\xBD";
            ++i;
            continue;
        }
        if (c == '"' || c == '\\') {
            out.push_back('\\');
            out.push_back(text[i]);
        } else if (c < 0x20 || c == 0x7F) {
            out += "\\u00";
            out.push_back(kHex[c >> 4]);
            out.push_back(kHex[c & 15]);
        } else {
            out.append(text.substr(i, length));
        }
        i += length;
    }
    out.push_back('"');
}

void append_bytes(std::string& out, const std::optional<std::string>& bytes) {
    if (!bytes) {
        out += "null";
        return;
    }
    out.push_back('"');
    append_base64(out, *bytes);
    out.push_back('"');
}

std::string system_text(const std::string& path, const char* what, int error) {
    return path + ": " + what + ": " + std::strerror(error);
}

std::string directory_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) {
        return ".";
    }
    return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

std::string dead_letter_line(const model::Partition& partition, model::Offset offset,
                             const SetAside& letter) {
    std::string out = "{\"topic\":";
    append_json_text(out, partition.topic);
    out += ",\"partition\":" + std::to_string(partition.id);
    out += ",\"offset\":" + std::to_string(letter.first_offset);
    if (letter.first_offset != offset) {
        out += ",\"last_offset\":" + std::to_string(offset);
    }
    out += ",\"timestamp\":";
    out += letter.timestamp == -1 ? "null" : std::to_string(letter.timestamp);
    out += ",\"reason\":";
    append_json_text(out, letter.reason);
    out += ",\"key\":";
    append_bytes(out, letter.key);
    out += ",\"value\":";
    append_bytes(out, letter.value);
    out += ",\"headers\":[";
    for (std::size_t i = 0; i < letter.headers.size(); ++i) {
        out += i == 0 ? "[" : ",[";
        append_json_text(out, letter.headers[i].first);
        out += ',';
        append_bytes(out, letter.headers[i].second);
        out += ']';
    }
    out += "]}\n";
    return out;
}

DeadLetterFile::DeadLetterFile(DeadLetterFileSettings settings) : settings_(std::move(settings)) {}

model::Result<std::unique_ptr<DeadLetterFile>> DeadLetterFile::open(
    DeadLetterFileSettings settings) {
    std::unique_ptr<DeadLetterFile> file(new DeadLetterFile(std::move(settings)));
    const std::lock_guard lock(file->file_mutex_);
    TRY(file->open_file());
    return file;
}

DeadLetterFile::~DeadLetterFile() {
    flush();
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

// Opens or creates the file and cuts off a line that a crash tore.
model::Status DeadLetterFile::open_file() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
    fd_ = ::open(settings_.path.c_str(), O_RDWR | O_APPEND | O_CLOEXEC);
    if (fd_ < 0 && errno == ENOENT) {
        fd_ = ::open(settings_.path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
        new_name_ = true;
    }
    if (fd_ < 0) {
        return model::unavailable(system_text(settings_.path, "cannot be opened", errno));
    }
    struct stat status{};
    if (::fstat(fd_, &status) != 0) {
        return model::unavailable(system_text(settings_.path, "cannot be read", errno));
    }
    off_t size = status.st_size;
    char block[4096];
    while (size > 0) {
        const auto length = std::min<off_t>(size, sizeof block);
        const ssize_t got = ::pread(fd_, block, static_cast<std::size_t>(length), size - length);
        if (got != length) {
            return model::unavailable(system_text(settings_.path, "cannot be read", errno));
        }
        const std::string_view view(block, static_cast<std::size_t>(length));
        const std::size_t newline = view.rfind('\n');
        if (newline != std::string_view::npos) {
            size = size - length + static_cast<off_t>(newline) + 1;
            break;
        }
        size -= length;
    }
    if (size != status.st_size && ::ftruncate(fd_, size) != 0) {
        return model::unavailable(system_text(settings_.path, "cannot be truncated", errno));
    }
    const std::lock_guard lock(mutex_);
    file_bytes_ = static_cast<std::uint64_t>(size);
    return {};
}

model::Status DeadLetterFile::append(std::string line) {
    const std::lock_guard lock(mutex_);
    const std::uint64_t waiting = buffer_.size() + in_flight_bytes_;
    if (file_bytes_ + waiting + line.size() > settings_.max_bytes) {
        if (settings_.drop_when_full) {
            ++dropped_;
            return {};
        }
        return model::exhausted(settings_.path + " has reached " +
                                std::to_string(settings_.max_bytes) +
                                " bytes: move it away or raise max_bytes");
    }
    // One line may be longer than the buffer.
    if (waiting > 0 && waiting + line.size() > settings_.buffer_bytes) {
        return model::exhausted("dead letters wait for the disk");
    }
    buffer_ += line;
    ++lines_;
    const std::uint64_t half = settings_.buffer_bytes / 2;
    if (settings_.half_full && waiting < half && waiting + line.size() >= half) {
        settings_.half_full();
    }
    return {};
}

void DeadLetterFile::flush() {
    const std::lock_guard lock(file_mutex_);
    // An error leaves the bytes where they are; sync() meets it again and says so.
    static_cast<void>(write_out());
}

model::Status DeadLetterFile::sync() {
    const std::lock_guard lock(file_mutex_);
    TRY(write_out());
    TRY(sync_file());
    if (new_name_) {
        const std::string directory = directory_of(settings_.path);
        const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const bool ok = fd >= 0 && ::fsync(fd) == 0;
        const int error = errno;
        if (fd >= 0) {
            ::close(fd);
        }
        if (!ok) {
            return model::unavailable(system_text(directory, "cannot be synced", error));
        }
        new_name_ = false;
    }
    return {};
}

model::Status DeadLetterFile::sync_file() {
    if (broken_) {
        return model::corrupt(settings_.path + ": an earlier sync failed");
    }
    SLUICE_FAIL_POINT("dead_letter.before_sync");
    if (unsynced_ && ::fdatasync(fd_) != 0) {
        // The kernel may have thrown these pages away; a second call would say that all is well.
        broken_ = true;
        return model::corrupt(system_text(settings_.path, "cannot be synced", errno));
    }
    unsynced_ = false;
    SLUICE_FAIL_POINT("dead_letter.after_sync");
    return {};
}

// Writes the buffer. Holds file_mutex_, and mutex_ only for moments.
model::Status DeadLetterFile::write_out() {
    struct stat named{};
    struct stat opened{};
    if (fd_ < 0 || ::fstat(fd_, &opened) != 0 || ::stat(settings_.path.c_str(), &named) != 0 ||
        named.st_ino != opened.st_ino || named.st_dev != opened.st_dev) {
        // Somebody moved it away. What was written there and not synced must not be lost.
        if (fd_ >= 0) {
            TRY(sync_file());
        }
        TRY(open_file());
    } else {
        const std::lock_guard lock(mutex_);
        file_bytes_ = static_cast<std::uint64_t>(opened.st_size);
    }
    std::string bytes;
    {
        const std::lock_guard lock(mutex_);
        bytes.swap(buffer_);
        in_flight_bytes_ = bytes.size();
    }
    SLUICE_FAIL_POINT("dead_letter.before_write");
    std::size_t done = 0;
    int error = 0;
    while (done < bytes.size()) {
        const ssize_t n = ::write(fd_, bytes.data() + done, bytes.size() - done);
        if (n > 0) {
            done += static_cast<std::size_t>(n);
        } else if (n < 0 && errno != EINTR) {
            error = errno;
            break;
        }
    }
    unsynced_ = unsynced_ || done > 0;
    const std::lock_guard lock(mutex_);
    file_bytes_ += done;
    in_flight_bytes_ = 0;
    if (error != 0) {
        // The rest goes first the next time: even a line cut in two becomes whole.
        buffer_.insert(0, bytes, done);
        return model::unavailable(system_text(settings_.path, "cannot be written", error));
    }
    return {};
}

std::uint64_t DeadLetterFile::bytes() const {
    const std::lock_guard lock(mutex_);
    return file_bytes_ + buffer_.size() + in_flight_bytes_;
}

std::uint64_t DeadLetterFile::written() const {
    const std::lock_guard lock(mutex_);
    return lines_;
}

std::uint64_t DeadLetterFile::dropped() const {
    const std::lock_guard lock(mutex_);
    return dropped_;
}

model::Status DeadLettersInMemory::append(std::string line) {
    const std::lock_guard lock(mutex_);
    if (full_) {
        return model::exhausted("dead letters are full");
    }
    lines_.push_back(std::move(line));
    return {};
}

model::Status DeadLettersInMemory::sync() {
    const std::lock_guard lock(mutex_);
    synced_ = lines_.size();
    return {};
}

std::uint64_t DeadLettersInMemory::written() const {
    const std::lock_guard lock(mutex_);
    return lines_.size();
}

void DeadLettersInMemory::set_full(bool full) {
    const std::lock_guard lock(mutex_);
    full_ = full;
}

void DeadLettersInMemory::crash() {
    const std::lock_guard lock(mutex_);
    lines_.resize(synced_);
}

std::vector<std::string> DeadLettersInMemory::lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
}

}  // namespace sluice::ingest
