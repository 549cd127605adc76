#include "daemon/control_requests.h"

#include <nlohmann/json.hpp>

#include "tests/unit/daemon/engine_fixture.h"

namespace sluice::daemon {
namespace {

class ControlRequestsTest : public test::RunningEngine {
 protected:
    using Answer = std::optional<model::Result<std::string>>;

    // Answers go to `to`; each is given once.
    static Done into(Answer& to) {
        return [&to](model::Result<std::string> answer) {
            EXPECT_FALSE(to) << "a second answer";
            to = std::move(answer);
        };
    }
    void run_until(const Answer& answer) {
        run([&] {
            requests_.settle();
            return answer.has_value();
        });
    }

    Ending ending_;
    Bells bells_;
    ControlRequests requests_{pipeline_, clock_, ending_, bells_};
};

TEST_F(ControlRequestsTest, RefusesWhereThereIsNoEngine) {
    Answer checkpoint, savepoint, removal;
    EXPECT_FALSE(requests_.serving());
    requests_.checkpoint(into(checkpoint));
    requests_.savepoint("s", into(savepoint));
    requests_.remove_savepoint("s", into(removal));
    for (const Answer* answer : {&checkpoint, &savepoint, &removal}) {
        ASSERT_TRUE(*answer);
        ASSERT_FALSE(**answer);
        EXPECT_EQ((*answer)->error().kind, model::ErrorKind::unavailable);
    }
}

TEST_F(ControlRequestsTest, ACheckpointIsAnsweredWithWhatWasTaken) {
    requests_.serve(*engine_);
    Answer first, second;
    requests_.checkpoint(into(first));
    requests_.settle();
    EXPECT_FALSE(first) << "not before it is there";
    requests_.checkpoint(into(second));
    run_until(first);
    run_until(second);
    ASSERT_TRUE(*first) << first->error().text;
    const auto said = nlohmann::json::parse(**first);
    const std::string path = said["path"];
    EXPECT_TRUE(disk_.info(path + "/MANIFEST.json")) << path;
    EXPECT_GT(said["id"].get<int>(), 0);
}

TEST_F(ControlRequestsTest, ASavepointIsAnsweredByItsName) {
    requests_.serve(*engine_);
    Answer named, unnamed, same, wrong;
    requests_.savepoint("before-upgrade", into(named));
    requests_.savepoint("", into(unnamed));
    requests_.savepoint("../up", into(wrong));
    ASSERT_TRUE(wrong);
    EXPECT_EQ(wrong->error().kind, model::ErrorKind::invalid);
    run_until(named);
    run_until(unnamed);
    ASSERT_TRUE(*named) << named->error().text;
    EXPECT_EQ(nlohmann::json::parse(**named)["name"], "before-upgrade");
    ASSERT_TRUE(*unnamed) << unnamed->error().text;
    EXPECT_TRUE(
        disk_.info(nlohmann::json::parse(**unnamed)["path"].get<std::string>() + "/MANIFEST.json"));
    requests_.savepoint("before-upgrade", into(same));
    run_until(same);
    EXPECT_FALSE(*same) << "there is one of that name";

    Answer removed;
    requests_.remove_savepoint("before-upgrade", into(removed));
    run_until(removed);
    ASSERT_TRUE(*removed) << removed->error().text;
    EXPECT_EQ(nlohmann::json::parse(**removed)["deleted"], true);
    EXPECT_FALSE(disk_.info("/state/savepoints/before-upgrade"));
}

TEST_F(ControlRequestsTest, WhatIsOpenWhenTheEngineGoesIsAnsweredSo) {
    requests_.serve(*engine_);
    Answer checkpoint, savepoint;
    requests_.checkpoint(into(checkpoint));
    requests_.savepoint("s", into(savepoint));
    requests_.withdraw();
    EXPECT_FALSE(requests_.serving());
    for (const Answer* answer : {&checkpoint, &savepoint}) {
        ASSERT_TRUE(*answer);
        ASSERT_FALSE(**answer);
        EXPECT_EQ((*answer)->error().kind, model::ErrorKind::cancelled);
    }
}

TEST_F(ControlRequestsTest, NothingIsTakenOnceTheEndWasAskedFor) {
    requests_.serve(*engine_);
    ending_.draining = true;
    Answer savepoint, checkpoint;
    requests_.savepoint("s", into(savepoint));
    ASSERT_TRUE(savepoint) << "a drain takes its own";
    EXPECT_FALSE(*savepoint);
    ending_.draining = false;
    ending_.requested = true;
    requests_.checkpoint(into(checkpoint));
    ASSERT_TRUE(checkpoint);
    EXPECT_FALSE(*checkpoint);
}

TEST_F(ControlRequestsTest, NamesSortByAgeAndNeverRepeat) {
    const std::string first = requests_.new_savepoint_name();
    const std::string second = requests_.new_savepoint_name();
    EXPECT_NE(first, second) << "in one millisecond";
    clock_.advance(1);
    const std::string third = requests_.new_savepoint_name();
    EXPECT_LT(first, third);
    EXPECT_LT(second, third);
}

}  // namespace
}  // namespace sluice::daemon
