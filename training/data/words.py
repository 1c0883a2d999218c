"""Word lists for synthetic ids and titles, chosen so that a list shows its user's taste."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_NAMES = (
    "ada", "alan", "barbara", "claude", "dorothy", "edsger", "emmy", "frances", "grace", "hedy", "ida", "john",
    "katherine", "kurt", "leslie", "lotfi", "margaret", "niklaus", "olga", "peter", "radia", "sofia", "tony", "vera",
)  # fmt: skip


@dataclass(frozen=True)
class Genre:
    """A genre; its titles are one of ``first`` followed by one of ``second``."""

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]


def _genre(name: str, first: str, second: str) -> Genre:
    return Genre(name, tuple(first.split()), tuple(second.split()))


FILM_GENRES = (
    _genre(
        "thriller",
        "Midnight Silent Hidden Cold Broken Double Final Deadly",
        "Heist Witness Alibi Pursuit Betrayal Verdict Ransom Trap",
    ),
    _genre(
        "science fiction",
        "Stellar Quantum Orbital Lunar Cosmic Android Galactic Solar",
        "Colony Signal Paradox Voyage Station Machine Horizon Frontier",
    ),
    _genre(
        "romance",
        "Parisian Summer Tender Secret Autumn Moonlit Second Sweet",
        "Kiss Wedding Letter Waltz Promise Rendezvous Proposal Embrace",
    ),
    _genre(
        "horror",
        "Haunted Cursed Bloody Rotting Screaming Undead Forsaken Crawling",
        "Cabin Cellar Doll Asylum Grave Ritual Scarecrow Mirror",
    ),
    _genre(
        "comedy",
        "Clumsy Awkward Lucky Accidental Hungry Noisy Confused Reluctant",
        "Roommates Vacation Neighbours Dentist Waiter Barbecue Plumber Uncle",
    ),
    _genre(
        "western",
        "Dusty Lonesome Wanted Outlaw Desert Rusty Prairie Untamed",
        "Sheriff Saloon Stagecoach Gunslinger Canyon Spur Ranch Posse",
    ),
    _genre(
        "war",
        "Fallen Iron Burning Distant Brave Winter Last Muddy",
        "Battalion Trench Regiment Bridge Sniper Armistice Convoy Squadron",
    ),
    _genre(
        "fantasy",
        "Enchanted Elven Ancient Golden Whispering Crystal Forgotten Dragon",
        "Sword Kingdom Sorcerer Amulet Forest Throne Prophecy Quest",
    ),
)

BOOK_GENRES = (
    _genre(
        "crime",
        "Scarlet Missing Locked Poisoned Vanished Crooked Unsolved Guilty",
        "Detective Clue Corpse Inspector Confession Motive Evidence Suspect",
    ),
    _genre(
        "space opera",
        "Interstellar Nebular Martian Photon Void Hyperspace Binary Titanium",
        "Empire Armada Starship Pilot Nova Outpost Asteroid Federation",
    ),
    _genre(
        "love story",
        "Blushing Stolen Gentle Forbidden Faithful Wistful Regency Dearest",
        "Duke Sweetheart Courtship Bouquet Longing Bride Valentine Heart",
    ),
    _genre(
        "ghost story",
        "Spectral Weeping Shrouded Restless Pale Moaning Phantom Unquiet",
        "Manor Crypt Seance Apparition Attic Tomb Lantern Moor",
    ),
    _genre(
        "humour",
        "Slightly Absurd Ridiculous Cheerful Grumpy Bewildered Tipsy Overdue",
        "Misadventure Penguin Sandwich Butler Librarian Trousers Teapot Excuse",
    ),
    _genre(
        "frontier tale",
        "Rugged Wild Wagon Silver Buffalo Lawless Homestead Sagebrush",
        "Trail Rider Gulch Prospector Drifter Settlers Mustang Creek",
    ),
    _genre(
        "military history",
        "Decisive Allied Naval Besieged Imperial Armoured Great Doomed",
        "Campaign General Siege Fleet Offensive Retreat Front Invasion",
    ),
    _genre(
        "epic fantasy",
        "Runic Shadow Eternal Wizard Mythic Raven Sapphire Oathbound",
        "Chronicle Realm Mage Citadel Scroll Warlock Saga Grimoire",
    ),
)
"""Film genre i and book genre i are counterparts: who likes the one likes, mostly, the other."""
